"""What the arguments of networks have to be, said before their classes say it in words of their own, or never."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_arguments", "told_defaults"]


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


def _is_stages(value: Any) -> bool:
    return _is_list(value, _is_count) and len(value) > 0


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
    "channels": (_STAGES, _is_stages),
    "filters": (_STAGES, _is_stages),
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


def check_arguments(name: str, network: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that a network's class does not know, ask for those that it must have, and check values.

    Args:
        name: of the network, for messages.
        network: its class.
        arguments: by name.

    Raises:
        UsageError: one of them is unknown, missing, or not what it has to be.
    """
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
            _check_value(name, argument, value, parameters[argument].default)


def told_defaults(message: str, network: type[nn.Module], arguments: Mapping[str, Any]) -> str:
    """What a class says of arguments that were not given, with a word on these: nobody knows them for his own.

    Args:
        message: of the class that refuses its arguments.
        network: the class.
        arguments: that were given, by name.
    """
    unsaid = [
        f"{key}={parameter.default}"
        for key, parameter in inspect.signature(network).parameters.items()
        if key not in arguments
        and parameter.default is not parameter.empty
        and re.search(rf"\b{key}\b", message)
    ]
    return f"{message}; {', '.join(unsaid)} by default: give what fits the others" if unsaid else message


def _check_value(name: str, argument: str, value: object, default: object) -> None:
    if isinstance(default, bool) and not isinstance(value, bool):
        raise UsageError(f"network '{name}': expected {argument} to be true or false, got {value!r}")
    if argument not in _EXPECTED:
        return
    expected, fits = _EXPECTED[argument]
    if not fits(value):
        raise UsageError(f"network '{name}': expected {argument} to be {expected}, got {value!r}")
