"""Run a MONAI bundle on one image at a time, the way its own evaluator would."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import AsDiscreted, EnsureChannelFirstd, Spacingd

import medkit
from medkit.bundle.instance import own_code, root_cause
from medkit.data.checks import check_not_constant
from medkit.data.hashing import hash_files
from medkit.data.monai_io import HandedReader, VolumeReader, knows_its_place
from medkit.data.side_words import tells_sides
from medkit.data.volume import Volume, as_volume
from medkit.errors import CaseError
from medkit.inference.channel_names import channel_names, label_names
from medkit.inference.ensemble import own_images, training_notes
from medkit.inference.features import FeatureMap, check_features, windowed_features
from medkit.inference.members import Activation, Members, find_activation, watched_windows
from medkit.inference.native_labels import check_gives_scores
from medkit.inference.output import output_grid, output_labels
from medkit.inference.result import NOTHING_LABELLED, Result
from medkit.inference.soft_outputs import SoftOutputs, check_probabilities
from medkit.inference.uncertainty import Agreement
from medkit.inference.volume_intervals import stated_intervals
from medkit.networks.features import feature_network
from medkit.transforms.clean_labels import NOTES_KEY, CleanLabelsd
from medkit.transforms.native_labels import NativeLabelsd
from medkit.transforms.steps import flat_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from monai.transforms import LoadImage
    from numpy.typing import NDArray
    from torch import nn

    from medkit.bundle.store import BundleFolder
    from medkit.inference.ensemble import WeightsFile
    from medkit.inference.volume_intervals import VolumeIntervals

__all__ = ["LoadedBundle"]

_PACKAGES = ("monai", "torch", "numpy")


@dataclass(eq=False, repr=False)
class LoadedBundle:
    """A bundle in memory, ready to predict; :func:`medkit.inference.loading.load_bundle` makes it.

    Args:
        folder: the bundle's files.
        overrides: changes to its config.
        licence: terms that the user had to accept, see :func:`medkit.bundle.licence.accepted_licence`.
        input_format: of the image, as the metadata declare it.
        output_format: of the prediction, likewise.
        preprocessing: from a file to an image for the network.
        network: with its weights, in evaluation mode.
        device: where it computes.
        inferer: runs the network over an image.
        amp: whether in mixed precision.
        steps: of the postprocessing, less what writes files.
        label_notes: remarks on how they make labels.
        members: what is averaged over; ``None`` for the network's one opinion.
        loaders: parts of the preprocessing that read the image.
        weights_files: that were loaded in the place of the bundle's own.
        calibrate: whether to calibrate probabilities; see :attr:`calibration`.
        digest: identity of what runs.
    """

    folder: BundleFolder
    overrides: dict[str, Any]
    licence: str | None
    input_format: dict[str, Any]
    output_format: dict[str, Any]
    preprocessing: Any
    network: nn.Module
    device: torch.device
    inferer: Any
    amp: bool
    steps: list[Any]
    label_notes: tuple[str, ...]
    members: Members | None
    loaders: list[LoadImage]
    weights_files: tuple[WeightsFile, ...]
    calibrate: bool
    digest: str

    def __post_init__(self) -> None:
        # Which arrays of a `.npz` are its channels is said by the reader that its config names.
        readers = [reader for loader in self.loaders for reader in loader.readers]
        self.arrays = next((r.arrays for r in readers if isinstance(r, VolumeReader)), ())

    @property
    def activation(self) -> Activation:
        """What makes probabilities of the network's output; see :func:`medkit.inference.members.find_activation`."""
        return find_activation(self.steps, str(self.folder.root))

    @property
    def provenance(self) -> dict[str, Any]:
        """What made a result, for its record."""
        return {
            "bundle": self.folder.name,
            "bundle_version": str(self.folder.metadata.get("version", "unknown")),
            "bundle_digest": self.digest,
            **({"accepted_licence": self.licence} if self.licence else {}),
            # As a record will hold them, so that they compare equal when it is read back.
            "overrides": json.loads(json.dumps(self.overrides, default=str)),
            **self._members_made(),
            **({"calibration": self.calibration} if self.calibration else {}),
            "device": str(self.device),
            "versions": {
                "medkit-imaging": medkit.__version__,
                **{name: version(name) for name in _PACKAGES},
            },
        }

    @property
    def calibration(self) -> dict[str, Any] | None:
        """The temperature that was fitted to the bundle's network, and whether its probabilities are calibrated by it.

        It is applied to what it was fitted to: that network with its own weights, alone. A mean over mirror images or
        networks is less sure already, and other weights are sure of other things; how they are calibrated is not known.
        It can be left out, to compare with those.
        """
        fitted = self.folder.metadata.get("calibration")
        if not isinstance(fitted, dict) or "temperature" not in fitted:
            return None
        return {"temperature": fitted["temperature"], "applied": not self._other_than_calibrated()}

    @property
    def temperature(self) -> float | None:
        """To apply; see :attr:`calibration`."""
        calibration = self.calibration
        return calibration["temperature"] if calibration and calibration["applied"] else None

    def _other_network(self) -> list[str]:
        """In what this differs from the bundle's network with its own weights, alone."""
        differs = {
            "mirror images are averaged": bool(self.members and self.members.mirroring.axes),
            "other weights are loaded": bool(self.weights_files),
        }
        return [difference for difference, there in differs.items() if there]

    def _other_than_calibrated(self) -> list[str]:
        """In what this differs from what the temperature was fitted to."""
        softens = any(isinstance(step, NativeLabelsd) for step in self.steps)
        return [
            *self._other_network(),
            *([] if softens else ["the postprocessing has no NativeLabelsd"]),
            *([] if self.calibrate else ["calibration is switched off"]),
        ]

    def _other_than_verified(self, volume: Volume) -> list[str]:
        """In what this differs from what the intervals of volumes were verified for."""
        changed = ", ".join(self.overrides)
        return [
            *self._other_network(),
            *([f"its config is changed ({changed})"] if changed else []),
            *(["the image shows more than it was made for"] if self._field_notes(volume) else []),
        ]

    def _volume_intervals(self, volume: Volume) -> tuple[VolumeIntervals | None, tuple[str, ...]]:
        """Those that hold for the volumes of an image's labels, and a remark where the bundle's own do not."""
        stated = stated_intervals(self.folder.metadata)
        if stated is None or not (differs := self._other_than_verified(volume)):
            lender = stated and self.folder.metadata.get("weights_of")
            taken = f"intervals of volumes are those of {lender}, counted on its images; for others it was not done"
            return stated, (taken,) if lender else ()
        return None, (
            f"volumes have no interval: those of {self.folder.name} were verified for its own network alone, as it is, "
            f"and here {' and '.join(differs)}",
        )

    def _calibration_notes(self) -> tuple[str, ...]:
        """A remark on probabilities that the temperature was not fitted to."""
        if self.calibration is None or self.calibration["applied"]:
            return ()
        return (
            f"probabilities and entropy are not calibrated: a temperature of {self.calibration['temperature']:.2f} was "
            f"fitted to {self.folder.name}'s own network alone, and here {' and '.join(self._other_than_calibrated())}",
        )

    def _members_made(self) -> dict[str, Any]:
        """What is averaged over, each only where it was asked for."""
        made: dict[str, Any] = {}
        if self.weights_files:
            made["weights"] = [file.described for file in self.weights_files]
        if self.members and self.members.mirroring.axes:
            mirroring, names = self.members.mirroring, channel_names(self.output_format)
            swapped = [[names[left], names[right]] for left, right in mirroring.pairs]
            made["flips"] = {"axes": list(mirroring.axes), "swapped": swapped}
        return made

    def notes_on(self, inputs: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Remarks on an image by its files (``path`` and ``sha256``): that a network was trained on it."""
        return training_notes(self._trained_on, {str(file["sha256"]) for file in inputs})

    @property
    def _trained_on(self) -> list[frozenset[str]]:
        """Images that each network in use was trained on."""
        if self.weights_files:
            return [file.trained_on for file in self.weights_files]
        return [own_images(self.folder.metadata)]

    def check_asked(self, *, probabilities: bool, uncertainty: bool, features: bool) -> None:
        """Check that the bundle can give what is wanted beside its labels; see :meth:`predict`.

        Raises:
            UsageError: see :func:`medkit.inference.native_labels.check_gives_scores`,
                :func:`medkit.inference.soft_outputs.check_probabilities`, :attr:`activation` and
                :func:`medkit.inference.features.check_features`.
        """
        if probabilities or uncertainty:
            asked = "probabilities" if probabilities else "uncertainty"
            check_gives_scores(self.inferer, asked, str(self.folder.root))
            check_probabilities(self.steps, str(self.folder.root))
        if uncertainty:
            _ = self.activation
        if features:
            check_features(self.network, self.inferer, self.members, str(self.folder.root))

    def predict(
        self,
        image: Any,
        affine: Any = None,
        *,
        probabilities: bool = False,
        uncertainty: bool = False,
        features: bool = False,
    ) -> Result:
        """Segment one image.

        Args:
            image: see :func:`medkit.data.as_volume`.
            affine: 4x4 to RAS millimetres, with a bare array.
            probabilities: keep the class probabilities as well; see :class:`medkit.inference.result.Result`.
            uncertainty: say how sure the labels are; see :class:`medkit.inference.uncertainty.Uncertainty`.
            features: give the network's last feature map too, in a run of its own; see
                :class:`medkit.inference.features.FeatureMap`.

        Raises:
            UsageError: the bundle has no probabilities or features to give, or ``image`` is of no known kind.
            CaseError: the image is unfit for this bundle, or a step of the bundle failed on it.
        """
        begin = time.perf_counter()
        volume = as_volume(image, affine, self.arrays)
        seconds = {"read": round(time.perf_counter() - begin, 4)}
        result = self.predict_volume(
            volume, probabilities=probabilities, uncertainty=uncertainty, features=features
        )
        named = image if isinstance(image, (list, tuple)) else [image]
        files = tuple(Path(item).absolute() for item in named if isinstance(item, (str, Path)))
        notes = self.notes_on([{"sha256": hash_files([file])} for file in files])
        return replace(
            result, files=files, seconds={**seconds, **result.seconds}, notes=(*result.notes, *notes)
        )

    def predict_volume(
        self,
        volume: Volume,
        *,
        probabilities: bool = False,
        uncertainty: bool = False,
        features: bool = False,
        on_windows: Callable[[int, int], None] | None = None,
    ) -> Result:
        """Segment a volume that was read and checked already; see :meth:`predict`.

        ``on_windows`` is as :func:`medkit.inference.members.watched_windows` has it; those of features are counted anew.
        """
        self.check_asked(probabilities=probabilities, uncertainty=uncertainty, features=features)
        soft = SoftOutputs(self.activation if uncertainty else None, self.temperature, keep=probabilities)
        agreement = Agreement(self.members.activation) if uncertainty and self.members else None
        seconds: dict[str, float] = {}
        self._check_size(volume)
        self._check_side(volume)
        named = isinstance(
            self.input_format.get("channel_def"), dict
        )  # which other people's bundles need not have
        channel_notes = check_not_constant(volume, channel_names(self.input_format) if named else {})
        with own_code(self.folder.root), torch.no_grad():
            with _step("preprocessing", volume, seconds):
                item = self._preprocess(volume)
            self._check_channels(item["image"], volume)
            _check_finite(item["image"], "preprocessed image", volume)
            watched = watched_windows(self.inferer, self.members, on_windows)
            with _step("inference", volume, seconds), watched:
                item = self._infer(item, agreement)
            image = item["image"]
            _check_finite(item["pred"], "network's output", volume)
            with _step("postprocessing", volume, seconds):
                item = self._postprocess(item, soft)
            found = self._features(image, volume, seconds, on_windows) if features else None
        labels = output_labels(item["pred"], volume)
        grid, notes = output_grid(item["pred"], volume)
        names = label_names(self.output_format, labels)
        intervals, interval_notes = self._volume_intervals(volume)
        result = Result(
            volume=volume,
            labels=labels,
            grid=grid,
            label_names=names,
            provenance=self.provenance,
            seconds=seconds,
            soft=soft.probabilities,
            uncertainty=soft.judge(labels, names, grid, agreement),
            features=found,
            intervals=intervals,
            notes=(
                *volume.notes,
                *channel_notes,
                *self.label_notes,
                *self._field_notes(volume),
                *(self._calibration_notes() if probabilities or uncertainty else ()),
                *interval_notes,
                *notes,
                *item.get(NOTES_KEY, ()),
                *(() if labels.any() else (NOTHING_LABELLED,)),
            ),
        )
        notes_on_volumes = intervals.notes(result.volumes_ml) if intervals else ()
        return replace(result, notes=(*result.notes, *notes_on_volumes)) if notes_on_volumes else result

    def _field_notes(self, volume: Volume) -> tuple[str, ...]:
        """A remark on an image that shows more than the bundle was made for."""
        largest, spacing = self.folder.metadata.get("largest_field_mm"), volume.grid.spacing_mm
        if largest is None or spacing is None:
            return ()
        edges = [n * edge for n, edge in zip(volume.grid.shape, spacing, strict=True)]
        if max(edges) <= largest:
            return ()
        shown = " x ".join(f"{edge:.0f}" for edge in edges)
        return (
            f"the image covers {shown} mm, and {self.folder.name} was made for crops of up to {largest:g} mm: "
            "its labels and volumes are not to be trusted; crop the image first",
        )

    def _check_size(self, volume: Volume) -> None:
        resamples = any(isinstance(step, Spacingd) for step in flat_steps(self.preprocessing))
        if resamples and not volume.grid.size_known:
            raise CaseError(
                "voxel-size-unknown",
                f"{volume.name}: expected an image whose voxel size is known, for {self.folder.name} resamples to "
                "millimetres, got one that does not state it; write it as NIfTI with its true voxel size",
            )
        for step in self.steps:
            if isinstance(step, CleanLabelsd):
                step.check_size(volume.name, known=volume.grid.size_known)

    def _check_side(self, volume: Volume) -> None:
        names, stated = channel_names(self.output_format), self.folder.metadata.get("lateral_pairs")
        if not volume.grid.side_known and tells_sides(names.values(), stated):
            raise CaseError(
                "side-unknown",
                f"{volume.name}: expected an image that states its left and right, for {self.folder.name} tells them "
                "apart, got one that does not; write it as NIfTI with its true orientation",
            )

    def _check_channels(self, image: torch.Tensor, volume: Volume) -> None:
        expected = self.input_format.get("num_channels")
        if expected is not None and image.shape[0] != expected:
            raise CaseError(
                "wrong-channels",
                f"{volume.name}: expected an image of {expected} channel(s) for {self.folder.name}, got "
                f"{image.shape[0]}; name one file per channel in a JSON list, or pick the channels it wants",
            )

    def _preprocess(self, volume: Volume) -> dict[str, Any]:
        reader = HandedReader(volume, _channel_axis(self.preprocessing))
        own = [(loader, loader.readers, loader.auto_select) for loader in self.loaders]
        try:
            for loader in self.loaders:
                loader.readers, loader.auto_select = [reader], True
            return dict(self.preprocessing({"image": volume.name}))
        finally:
            for loader, readers, auto_select in own:
                loader.readers, loader.auto_select = readers, auto_select

    def _infer(self, item: dict[str, Any], agreement: Agreement | None) -> dict[str, Any]:
        batch = list_data_collate([item])
        image = batch["image"].to(self.device)
        # As MONAI's evaluator does it: `amp` means CUDA, and a CPU computes in full precision.
        with torch.autocast("cuda", enabled=self.amp and self.device.type == "cuda"):
            if self.members is None:
                batch["pred"] = self.inferer(image, self.network)
            else:
                affine = _affine_of(item["image"]) if self.members.mirroring.axes else None
                batch["pred"] = self.members.mean(image, affine, self.network, self.inferer, agreement)
        # Remarks of an inferer that looks at the image in its own way, as a cascade does.
        notes = batch["pred"].meta.pop(NOTES_KEY, []) if isinstance(batch["pred"], MetaTensor) else []
        return {**decollate_batch(batch)[0], NOTES_KEY: [*item.get(NOTES_KEY, ()), *notes]}

    def _features(
        self,
        image: torch.Tensor,
        volume: Volume,
        seconds: dict[str, float],
        on_windows: Callable[[int, int], None] | None,
    ) -> FeatureMap:
        with (
            _step("features", volume, seconds),
            torch.autocast("cuda", enabled=self.amp and self.device.type == "cuda"),
        ):
            found = windowed_features(image.to(self.device), self.network, self.inferer, on_windows)
            grid, _ = output_grid(image, volume)
        _check_finite(found, "features before the network's output", volume)
        return FeatureMap(found.numpy(), grid.of_blocks(feature_network(self.network).block))

    def _postprocess(self, item: dict[str, Any], soft: SoftOutputs) -> dict[str, Any]:
        """Run the bundle's steps, and keep what is wanted of the probabilities that become labels."""
        first = next((step for step in self.steps if isinstance(step, (AsDiscreted, NativeLabelsd))), None)
        for step in self.steps:
            made = step(item)
            if step is first:
                soft.take(step, item, made)
            item = made
        return item


def _channel_axis(preprocessing: Any) -> int:
    """The axis that the bundle says its channels are on; the first if it leaves that to the metadata."""
    for step in flat_steps(preprocessing):
        if isinstance(step, EnsureChannelFirstd) and isinstance(step.adjuster.input_channel_dim, int):
            return step.adjuster.input_channel_dim
    return 0


def _affine_of(image: Any) -> NDArray[np.float64]:
    if not knows_its_place(image):
        raise ValueError(
            "expected a preprocessed image that knows its place, to mirror it, got one without metadata; predict "
            "without flips"
        )
    return np.asarray(image.affine.cpu().numpy(), dtype=np.float64)


@contextmanager
def _step(name: str, volume: Volume, seconds: dict[str, float]) -> Iterator[None]:
    """Time a step of the bundle; whatever it raises becomes this case's failure."""
    begin = time.perf_counter()
    try:
        yield
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, CaseError):  # a step knows not what the image is called
            raise CaseError(cause.code, f"{volume.name}: {cause}") from error
        line = (str(cause).strip().splitlines() or [""])[0]
        if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in line:
            raise CaseError(
                "out-of-memory",
                f"{volume.name}: expected enough memory for {name}, got none left; crop the image, or use "
                "another machine or device",
            ) from error
        raise CaseError(
            "pipeline-failed", f"{volume.name}: {name} failed: {type(cause).__name__}: {line}"
        ) from error
    seconds[name] = round(time.perf_counter() - begin, 4)


def _check_finite(tensor: torch.Tensor, what: str, volume: Volume) -> None:
    """Refuse NaN and infinity, of which an argmax would make labels all the same."""
    if not all(bool(torch.isfinite(channel).all()) for channel in tensor):
        raise CaseError(
            f"{what.split()[-1]}-not-finite",
            f"{volume.name}: expected finite numbers in the {what}, got NaN or infinity; look for absurd "
            "intensities in the image, or for damage in the bundle's weights",
        )
