"""Networks by name: plain ``nn.Module``s that know nothing of Lightning, files or configs.

One architecture a file; what MONAI has is listed here, not wrapped.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["create", "names"]

_NETWORKS = {
    "attention_unet": "monai.networks.nets.AttentionUnet",
    "dynunet": "monai.networks.nets.DynUNet",
    "segresnet": "monai.networks.nets.SegResNet",
    "unet": "monai.networks.nets.UNet",
}


def names() -> list[str]:
    """Names that :func:`create` knows."""
    return sorted(_NETWORKS)


def create(name: str, **arguments: Any) -> nn.Module:
    """Make a network.

    Args:
        name: see :func:`names`.
        arguments: of the network's class.

    Raises:
        UsageError: no network of that name, or arguments that its class does not take.

    >>> network = create("segresnet", spatial_dims=3, in_channels=1, out_channels=3, init_filters=8)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1176195
    """
    if name not in _NETWORKS:
        close = difflib.get_close_matches(name, _NETWORKS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"no network '{name}': {hint}known networks: {', '.join(names())}")
    module, _, cls = _NETWORKS[name].rpartition(".")
    try:
        network: nn.Module = getattr(import_module(module), cls)(**arguments)
    except TypeError as error:
        raise UsageError(f"network '{name}': {error}") from error
    return network
