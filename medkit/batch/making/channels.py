"""Which input of a rule is which channel of its bundle: by name, and never by the order in a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from medkit.bundle.store import BundleFolder

__all__ = ["channel_inputs", "channel_order"]


def channel_inputs(folder: BundleFolder) -> list[str]:
    """What the inputs of a rule for a bundle of several channels are called, in their order.

    The names of the channels in ``network_data_format::inputs::image::channel_def``, in small letters, with hyphens for
    all that is no letter and no digit: ``t1-after-contrast-agent``. A bundle of one channel gives one name.

    Raises:
        UsageError: the metadata name no channels, or two the same.
    """
    where = f"{folder.name}/configs/metadata.json: network_data_format::inputs::image::channel_def"
    declared = (
        folder.metadata.get("network_data_format", {}).get("inputs", {}).get("image", {}).get("channel_def")
    )
    try:
        names = [_plain(declared[str(number)]) for number in range(len(declared))]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{where}: expected a name for each channel from 0, got none; add them") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise UsageError(
            f"{where}: expected a name of its own for each channel, got {', '.join(names) or 'none'}"
        )
    return names


def channel_order(folder: BundleFolder, inputs: Collection[str]) -> list[str]:
    """The names of a rule's inputs in the order of the bundle's channels.

    The one input of a bundle of one channel may have any name.

    Raises:
        UsageError: they are not the bundle's, besides what :func:`channel_inputs` raises.
    """
    wanted = channel_inputs(folder)
    if len(wanted) == len(inputs) == 1:
        return list(inputs)
    named = {_plain(name): name for name in inputs}
    if set(named) != set(wanted) or len(named) < len(inputs):
        raise UsageError(
            f"rules: expected the inputs of {folder.name}, {', '.join(wanted)}, got {', '.join(sorted(inputs))}; name "
            "them so"
        )
    return [named[name] for name in wanted]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")
