"""Begin a training with the weights of another, and say in its record which they were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medkit.data.hashing import hash_files
from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["initial_weights_sha256", "load_initial_weights"]


def load_initial_weights(network: nn.Module, path: str | Path | None) -> None:
    """Put weights into a network before its first step; a training that is resumed has its own.

    Args:
        network: of the same make.
        path: a state dict, such as a bundle's ``model.pt``; ``None`` to leave the network as it is.

    Raises:
        UsageError: there is no such file, or its weights are those of another network.
    """
    if path is None:
        return
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    except OSError as error:
        raise UsageError(
            f"initial_weights: expected a file of weights, got none at {path}; correct the path"
        ) from error
    except Exception as error:  # whatever unpickling raises, and weights that do not fit
        line = " ".join(str(error).split())[:300]
        raise UsageError(
            f"initial_weights: expected weights of this network, got {path}, which do not fit it ({line}); name those "
            "of a network with the same arguments"
        ) from error


def initial_weights_sha256(path: str | Path | None) -> str | None:
    """SHA-256 of the file, for the record; ``None`` without one."""
    return None if path is None else hash_files([Path(path)])
