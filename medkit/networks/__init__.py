"""Networks by name: plain ``nn.Module``s that know nothing of Lightning, files or configs.

What belongs here: architectures, one a file, and the layers that they share; what MONAI has is listed, and padded to
the sizes that it takes. What does not: kernels (``ops``), losses and schedules (``training``), weights (bundles).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError
from medkit.networks.arguments import check_arguments, told_defaults
from medkit.networks.strides import between_stages, of_each_axis, total

if TYPE_CHECKING:
    from torch import nn

__all__ = ["create", "names"]

_NETWORKS = {
    "agunet": "medkit.networks.agunet.AGUNet",
    "attention_unet": "monai.networks.nets.AttentionUnet",
    "daunet": "medkit.networks.daunet.DAUNet",
    "dynunet": "monai.networks.nets.DynUNet",
    "lightnet": "medkit.networks.lightnet.LightNet",
    "mednext": "monai.networks.nets.MedNeXt",
    "mobile_mamba": "medkit.networks.mobile_mamba.MobileMamba",
    "scan_unet": "medkit.networks.scan_unet.ScanUNet",
    "segmamba": "medkit.networks.segmamba.SegMamba",
    "segresnet": "monai.networks.nets.SegResNet",
    "subvoxel_unet": "medkit.networks.subvoxel_unet.SubvoxelUNet",
    "swin_unetr": "monai.networks.nets.SwinUNETR",
    "umamba": "medkit.networks.umamba.UMamba",
    "unet": "monai.networks.nets.UNet",
}


def _of_dynunet(given: Mapping[str, Any]) -> tuple[int, ...]:
    first, *others = of_each_axis(given["strides"], given["spatial_dims"])
    if set(first) != {1}:
        raise ValueError(
            f"expected strides that begin with 1, got {given['strides'][0]}: logits would be smaller than the image"
        )
    return total(others)


def _of_unet(given: Mapping[str, Any]) -> tuple[int, ...]:
    # MONAI's classes take more strides than they use, and the image would be padded by those too.
    return total(between_stages(given["channels"], given["strides"], given["spatial_dims"]))


# What sizes have to be a multiple of, from the arguments, for networks that refuse others or give them back smaller.
_MULTIPLES: dict[str, Callable[[Mapping[str, Any]], int | Sequence[int]]] = {
    "attention_unet": _of_unet,
    "dynunet": _of_dynunet,
    "mednext": lambda given: 2 ** len(given["blocks_down"]),
    "segresnet": lambda given: 2 ** (len(given["blocks_down"]) - 1),
    "swin_unetr": lambda given: given["patch_size"] ** 5,
    "unet": _of_unet,
}

# What classes raise at arguments that they cannot be built with; MONAI's by their own arithmetic and PyTorch's, too.
_REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)

# Of whose traces a part is made for the size of the image: of SwinUNETR, which windows are neighbours.
_TRACED_FOR_ONE_SIZE = {"swin_unetr"}


def names() -> list[str]:
    """Names that :func:`create` knows."""
    return sorted(_NETWORKS)


def create(name: str, **arguments: Any) -> nn.Module:
    """Make a network that takes images of any size.

    Args:
        name: see :func:`names`.
        arguments: of the network's class.

    Raises:
        UsageError: no network of that name, or arguments that its class does not take or refuses.

    >>> network = create("segresnet", spatial_dims=3, in_channels=1, out_channels=3, init_filters=8)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1176195
    """
    if not isinstance(name, str) or name not in _NETWORKS:
        close = difflib.get_close_matches(str(name).lower(), _NETWORKS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"no network '{name}': {hint}known networks: {', '.join(names())}")
    module, _, cls = _NETWORKS[name].rpartition(".")
    network = getattr(import_module(module), cls)
    check_arguments(name, network, arguments)
    try:
        return _any_size(name, network, arguments)
    except _REFUSALS as error:
        said = told_defaults(" ".join(str(error).split()), network, arguments)
        raise UsageError(f"network '{name}': {said}") from error


def _any_size(name: str, network: type[nn.Module], arguments: dict[str, Any]) -> nn.Module:
    if name not in _MULTIPLES:
        return network(**arguments)
    from medkit.networks.padded import Padded

    bound = inspect.signature(network).bind(**arguments)
    bound.apply_defaults()
    multiple = _MULTIPLES[name](bound.arguments)
    dims = bound.arguments["spatial_dims"]
    return Padded(
        network(**arguments),
        [multiple] * dims if isinstance(multiple, int) else multiple,
        traced_for_one_size=name in _TRACED_FOR_ONE_SIZE,
    )
