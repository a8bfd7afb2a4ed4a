"""The network: it runs at the declared sizes, and gives what metadata and label names promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.bundle.scripts import _get_fake_spatial_shape
from monai.utils import get_equivalent_dtype

from medkit.bundle.instance import one_line
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from medkit.bundle.checks.finding import Note
    from medkit.bundle.checks.subject import Subject

__all__ = ["labels", "network_runs", "run_network"]

_FORMATS = "configs/metadata.json: network_data_format"
# Values of `n` in a declared size: MONAI's own check takes 1; a size that holds for one only is not `8*n`.
_SCALES = (1, 2)


def declared_sizes(image: dict[str, Any], scale: int) -> tuple[int, ...]:
    """Spatial sizes of the input as MONAI reads ``spatial_shape``.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return tuple(_get_fake_spatial_shape(image["spatial_shape"], n=scale, any=scale))
    except Exception as error:
        raise UsageError(
            f"{_FORMATS}::inputs::image::spatial_shape: cannot be read: {one_line(error)}"
        ) from error


def run_network(
    network: nn.Module, subject: Subject, sizes: tuple[int, ...] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random input ``(1, C, ...)`` as declared, and the one tensor that a network makes of it.

    Args:
        network: on the CPU.
        subject: its metadata declare the input.
        sizes: of the input; by default those that MONAI's own check takes.

    Raises:
        UsageError: the declaration cannot be read, or the network does not run on such an input.
    """
    image = subject.tensor_format("inputs", "image")
    shape = (1, image["num_channels"], *(sizes or declared_sizes(image, _SCALES[0])))
    dtype = _dtype(image, "inputs::image")
    try:
        given = torch.rand(shape).to(dtype)
        with torch.no_grad():
            output = network(given)
    except Exception as error:
        raise UsageError(
            f"{_FORMATS}::inputs::image: the network does not run on the declared input {shape}: "
            f"{one_line(error)}; correct spatial_shape, num_channels or network_def"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise UsageError(
            f"{subject.where('inference')}: 'network_def': expected one tensor from the network, "
            f"got {type(output).__name__}; clients take the output as it comes"
        )
    return given, output


def _dtype(tensor: dict[str, Any], name: str) -> torch.dtype:
    try:
        dtype = get_equivalent_dtype(tensor["dtype"], torch.Tensor)
    except Exception:
        dtype = None
    if not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"{_FORMATS}::{name}::dtype: expected a type such as float32, got {tensor['dtype']!r}"
        )
    return dtype


def network_runs(subject: Subject) -> Iterator[str | Note]:
    """The network runs at the declared sizes; its channels, type and sizes are the declared ones."""
    image, declared = subject.tensor_format("inputs", "image"), subject.tensor_format("outputs", "pred")
    expected = {
        "num_channels": declared["num_channels"],
        "dtype": _dtype(declared, "outputs::pred"),
    }
    for sizes in dict.fromkeys(declared_sizes(image, scale) for scale in _SCALES):
        _, output = run_network(subject.network, subject, sizes)
        got = {"num_channels": _predicted_channels(subject, output.shape[1]), "dtype": output.dtype}
        if declared["spatial_shape"] == image["spatial_shape"]:
            got["spatial_shape"], expected["spatial_shape"] = tuple(output.shape[2:]), sizes
        for key, value in expected.items():
            if got[key] != value:
                yield f"{_FORMATS}::outputs::pred::{key}: declared {value}, the network gives {got[key]}"


def labels(subject: Subject) -> Iterator[str | Note]:
    """``channel_def`` names each channel of the network's output, and as the configs' ``label_names`` do."""
    where, declared = f"{_FORMATS}::outputs::pred::channel_def", subject.tensor_format("outputs", "pred")
    names = _by_number(declared.get("channel_def"), where)
    channels = _predicted_channels(subject, run_network(subject.network, subject)[1].shape[1])
    # One channel may hold the label itself; then the names are those of its values.
    if channels > 1 and sorted(names) != list(range(channels)):
        yield f"{where}: the network gives channels 0 to {channels - 1}, names are given to {sorted(names)}"
    if len(set(names.values())) < len(names):
        yield f"{where}: expected a name for each channel, got some twice: {', '.join(names.values())}"
    for kind in subject.kinds:
        config = subject.config(kind)
        if "label_names" in config:
            place = f"{subject.where(kind)}: 'label_names'"
            if (other := _by_number(config["label_names"], place)) != names:
                yield f"{place}: {other}, but channel_def in configs/metadata.json is {names}; mend one"
    yield from _input_channels(subject)


def _predicted_channels(subject: Subject, given: int) -> int:
    """Channels of the prediction, from those that the network gives.

    A bundle that runs the network of another once for each side has the background, then its other classes for each.
    """
    sides = subject.folder.metadata.get("sides")
    return 1 + len(sides) * (given - 1) if sides else given


def _input_channels(subject: Subject) -> Iterator[str]:
    where, image = f"{_FORMATS}::inputs::image::channel_def", subject.tensor_format("inputs", "image")
    if "channel_def" in image:
        number = len(_by_number(image["channel_def"], where))
        if number != image["num_channels"]:
            yield f"{where}: names {number} channels, num_channels says {image['num_channels']}; mend one"


def _by_number(names: Any, where: str) -> dict[int, str]:
    try:
        numbered = {int(key): name for key, name in names.items()}
    except (AttributeError, ValueError) as error:
        raise UsageError(f'{where}: expected {{"0": "background", "1": ...}}, got {names!r:.80}') from error
    if not numbered or not all(isinstance(name, str) and name.strip() for name in numbered.values()):
        raise UsageError(f"{where}: expected a name for each number, got {names!r:.80}")
    return numbered
