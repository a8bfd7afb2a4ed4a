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
    """Put weights into a network before its first step; those of a checkpoint then take their place.

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
        raise _no_file(path) from error
    except Exception as error:  # whatever unpickling raises, and weights that do not fit
        line = " ".join(str(error).split())[:300]
        raise UsageError(
            f"initial_weights: expected weights of this network, got {path}, which do not fit it ({line}); name those "
            "of a network with the same arguments"
        ) from error


def initial_weights_sha256(path: str | Path | None) -> str | None:
    """SHA-256 of the file, for the record; ``None`` without one.

    Raises:
        UsageError: it cannot be read. A training is resumed with it in its place: the record would not tell the truth.
    """
    if path is None:
        return None
    if (digest := hash_files([Path(path)])) is None:
        raise _no_file(path)
    return digest


def _no_file(path: str | Path) -> UsageError:
    return UsageError(f"initial_weights: expected a file of weights, got none at {path}; correct the path")
