"""Bundles that stay in memory from one study to the next."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any

from medkit.batch.making.channels import channel_order
from medkit.data.nifti_form import in_nifti_form
from medkit.data.reading import stack_channels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from medkit.data.volume import Volume
    from medkit.dicom.writing.maker import Maker
    from medkit.inference.predictor import LoadedBundle
    from medkit.inference.result import Result

__all__ = ["BundleSettings", "BundleShelf", "ShelvedBundle"]


@dataclass(frozen=True)
class BundleSettings:
    """How a bundle is run; see :func:`medkit.inference.loading.load_bundle`.

    Args:
        overrides: changes to its config.
        flips: mirror images to average over.
        accept_licence: whether terms that forbid commercial use were accepted.
        location: folder of the bundle, where it is none of medkit's own.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    flips: str = ""
    accept_licence: bool = False
    location: Path | None = None


@dataclass(frozen=True, eq=False)
class ShelvedBundle:
    """A bundle in memory, and what its results are signed with."""

    bundle: LoadedBundle
    maker: Maker

    def order(self, names: Collection[str]) -> list[str]:
        """The inputs of a rule in the order of the channels; see :func:`medkit.batch.making.channels.channel_order`."""
        return channel_order(self.bundle.folder, names)

    def predict(self, channels: list[Volume]) -> Result:
        """Segment volumes, one a channel, as ``medkit predict`` would segment NIfTI files of them.

        Raises:
            CaseError: the volumes are unfit, lie on different grids, or would not fit into memory.
        """
        from medkit.data.host_memory import free_memory
        from medkit.inference.memory import check_fits

        volume = stack_channels([in_nifti_form(channel) for channel in channels])
        check_fits(self.bundle, volume.name, volume.grid, len(channels), free_memory())
        return self.bundle.predict_volume(volume)


class BundleShelf:
    """Load bundles when they are first wanted, and keep those that were wanted last.

    A loaded bundle runs one volume at a time: whoever takes one keeps :attr:`lock` meanwhile.

    Args:
        settings: by name of the bundle; one that is not named is run as it is.
        device: such as ``cuda:1``; each bundle's own choice by default.
        size: how many are kept.
    """

    def __init__(
        self, settings: Mapping[str, BundleSettings] | None = None, device: str | None = None, size: int = 2
    ) -> None:
        self.lock = RLock()
        self._settings, self._device, self._size = dict(settings or {}), device, size
        self._kept: OrderedDict[str, ShelvedBundle] = OrderedDict()

    def take(self, name: str) -> ShelvedBundle:
        """A bundle by its name.

        Raises:
            UsageError: it cannot be loaded, its terms were not accepted, or a label has no code, without which its
                results cannot be written.
        """
        with self.lock:
            if name not in self._kept:
                while len(self._kept) >= self._size:
                    self._kept.popitem(last=False)
                self._kept[name] = self._load(name)
            self._kept.move_to_end(name)
            return self._kept[name]

    def _load(self, name: str) -> ShelvedBundle:
        # Imported here: a service reads settings and takes studies without the seconds and the memory of PyTorch.
        from medkit.inference.dicom_results import result_maker
        from medkit.inference.loading import load_bundle

        settings = self._settings.get(name, BundleSettings())
        bundle = load_bundle(
            settings.location or name,
            device=self._device,
            overrides=settings.overrides,
            flips=settings.flips,
            accept_licence=settings.accept_licence,
        )
        maker = result_maker(bundle.folder, bundle.provenance)
        maker.check_codes()
        return ShelvedBundle(bundle, maker)
