"""Whether bundles can be run as settings say, as far as it can be seen without their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.bundle.store import find_bundle
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from medkit.batch.making.bundles import BundleSettings
    from medkit.batch.yaml_faults import Place
    from medkit.bundle.store import BundleFolder

__all__ = ["option_faults"]


def option_faults(settings: Mapping[str, BundleSettings], device: str | None) -> list[tuple[Place, str]]:
    """What is wrong with overrides, flips and device, by their places in the settings of a service.

    It needs PyTorch, and the device.

    Args:
        settings: how bundles are run, by name, of all that there are.
        device: for all of them; each one's own choice by default.
    """
    folders = {name: find_bundle(one.location or name) for name, one in settings.items()}
    found: list[tuple[Place, str]] = []
    for name, one in settings.items():
        found += [(("bundles", name, *place), fault) for place, fault in _faults(folders[name], one)]
    return found if device is None else [*found, *_device_faults(folders.values(), device)]


def _faults(folder: BundleFolder, settings: BundleSettings) -> Iterator[tuple[Place, str]]:
    from medkit.bundle.instance import read_config
    from medkit.bundle.overrides import apply_overrides
    from medkit.inference.channel_names import channel_names
    from medkit.inference.mirroring import lateral_pairs, parse_axes

    config = read_config(folder, "inference")
    for key, value in settings.overrides.items():
        try:
            apply_overrides(
                config, {key: value}, f"{folder.name}/configs/{folder.config_path('inference').name}"
            )
        except UsageError as error:
            yield ("overrides", key), str(error).removeprefix(f"--set {key}: ")
    if "LR" in parse_axes(settings.flips):
        output = folder.metadata.get("network_data_format", {}).get("outputs", {}).get("pred", {})
        try:
            lateral_pairs(channel_names(output), folder.metadata.get("lateral_pairs"), str(folder.root))
        except UsageError as error:
            yield ("flips",), str(error)


def _device_faults(folders: Iterable[BundleFolder], device: str) -> Iterator[tuple[Place, str]]:
    from medkit.bundle.instance import read_config
    from medkit.inference.loading import check_device

    try:
        check_device(device)
    except UsageError as error:
        yield ("device",), str(error).removeprefix("--device ")
    for folder in folders:
        if "device" not in read_config(folder, "inference"):
            yield (
                ("device",),
                f"expected a 'device' in {folder.config_path('inference')}, got a config without one; leave it out",
            )
