"""Networks by name: plain ``nn.Module``s that know nothing of Lightning, files or configs.

What belongs here: architectures, one a file, and the layers that they share; what MONAI has is listed, and padded to
the sizes that it takes. What does not: kernels (``ops``), losses and schedules (``training``), weights (bundles).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from numbers import Integral
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError
from medkit.networks.strides import of_each_axis, total

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


# What sizes have to be a multiple of, from the arguments, for networks that refuse others or give them back smaller.
_MULTIPLES: dict[str, Callable[[Mapping[str, Any]], int | Sequence[int]]] = {
    "attention_unet": lambda given: total(of_each_axis(given["strides"], given["spatial_dims"])),
    "dynunet": _of_dynunet,
    "mednext": lambda given: 2 ** len(given["blocks_down"]),
    "segresnet": lambda given: 2 ** (len(given["blocks_down"]) - 1),
    "swin_unetr": lambda given: given["patch_size"] ** 5,
    "unet": lambda given: total(of_each_axis(given["strides"], given["spatial_dims"])),
}


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_odd(value: Any) -> bool:
    return _is_count(value) and value % 2 == 1


def _all(value: object, fits: Callable[[Any], bool]) -> bool:
    """Whether a value fits, or is a list of such, or of lists of them."""
    if isinstance(value, Collection) and not isinstance(value, str):
        return all(_all(each, fits) for each in value)
    return fits(value)


def _is_list(value: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, Collection) and all(map(fits, value))


_CHANNELS = "a whole number of 1 or more"
_STAGES = "a list of whole numbers of 1 or more, a stage's channels each, such as [16, 32, 64]"
# What arguments of many networks have to be, in words and as a question. Their classes refuse others in words that do
# not help, when an image comes, or never.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "spatial_dims": ("2 or 3", lambda value: _is_whole(value) and value in (2, 3)),
    "in_channels": (_CHANNELS, _is_count),
    "out_channels": (_CHANNELS, _is_count),
    "channels": (_STAGES, lambda value: _is_list(value, _is_count)),
    "filters": (_STAGES, lambda value: _is_list(value, _is_count)),
    "strides": (
        "a list of whole numbers, or of one for each axis, such as [2, [1, 2, 2]]",
        lambda value: _is_list(value, lambda stride: _all(stride, _is_whole)),
    ),
    "kernel_size": (
        "odd numbers such as 3, with which convolutions keep the size of an image",
        lambda value: _all(value, _is_odd),
    ),
}

# Of networks that must be told their stages: arguments to begin with, for three halvings of the image.
_EXAMPLES: dict[str, dict[str, Any]] = {
    "attention_unet": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2]},
    "dynunet": {
        "kernel_size": [3, 3, 3, 3],
        "strides": [1, 2, 2, 2],
        "upsample_kernel_size": [2, 2, 2],
        "filters": [16, 32, 64, 128],
    },
    "unet": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2]},
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
    if name not in _NETWORKS:
        close = difflib.get_close_matches(name.lower(), _NETWORKS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"no network '{name}': {hint}known networks: {', '.join(names())}")
    module, _, cls = _NETWORKS[name].rpartition(".")
    network = getattr(import_module(module), cls)
    _check_arguments(name, network, arguments)
    try:
        return _padded(name, network(**arguments), network, arguments)
    except _REFUSALS as error:
        raise UsageError(f"network '{name}': {' '.join(str(error).split())}") from error


def _padded(name: str, made: nn.Module, network: type[nn.Module], arguments: dict[str, Any]) -> nn.Module:
    if name not in _MULTIPLES:
        return made
    from medkit.networks.padded import Padded

    bound = inspect.signature(network).bind(**arguments)
    bound.apply_defaults()
    multiple = _MULTIPLES[name](bound.arguments)
    dims = bound.arguments["spatial_dims"]
    return Padded(
        made,
        [multiple] * dims if isinstance(multiple, int) else multiple,
        traced_for_one_size=name in _TRACED_FOR_ONE_SIZE,
    )


def _check_arguments(name: str, network: type[nn.Module], arguments: dict[str, Any]) -> None:
    """Refuse arguments that the class does not know, ask for those that it must have, and check values."""
    parameters = inspect.signature(network).parameters
    for argument in arguments.keys() - parameters.keys():
        close = difflib.get_close_matches(argument.lower(), parameters, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"network '{name}' takes no '{argument}': {hint}it takes {', '.join(parameters)}")
    needed = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    if missing := [key for key in needed if key not in arguments]:
        example = _EXAMPLES.get(name, {})
        shown = ", ".join(f"{key}={value}" for key, value in example.items())
        hint = f", for example {shown}" if example.keys() & set(missing) else ""
        raise UsageError(f"network '{name}' needs {', '.join(missing)} as well{hint}")
    for argument, value in arguments.items():
        if value is not None or parameters[argument].default is not None:
            _check_value(name, argument, value)


def _check_value(name: str, argument: str, value: object) -> None:
    if argument not in _EXPECTED:
        return
    expected, fits = _EXPECTED[argument]
    if not fits(value):
        raise UsageError(f"network '{name}': expected {argument} to be {expected}, got {value!r}")
