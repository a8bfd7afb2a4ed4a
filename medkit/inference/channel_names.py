"""What the channels of a bundle's image and output and the values of its labels are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit.inference.result import count_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["channel_names", "label_names"]


def channel_names(declared: Mapping[str, Any]) -> dict[int, str]:
    """Channel to name, as ``channel_def`` of an image or output in the metadata has it; empty without one."""
    named = declared.get("channel_def") or {}
    return {int(key): str(name) for key, name in named.items() if str(key).isdigit()}


def label_names(output: Mapping[str, Any], labels: NDArray[Any]) -> dict[int, str]:
    """Value (of a label map) or channel (of masks) to name, background left out.

    ``channel_def`` of the metadata names channels. They are the values of a label map only where channel 0
    is the background: BraTS bundles fold overlapping masks into values of their own.
    """
    declared = channel_names(output)
    background = declared.get(0, "background").strip().lower() == "background"
    if labels.ndim == 4:
        channels = range(1 if background and 0 in declared else 0, labels.shape[3])
        return {channel: declared.get(channel, f"channel {channel}") for channel in channels}
    if not background:
        declared = {1: declared[0]} if len(declared) == 1 else {}
    values = {*declared, *count_labels(labels)} - {0}
    return {value: declared.get(value, f"label {value}") for value in sorted(values)}
