"""Run a MONAI bundle on one image at a time, the way its own evaluator would."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    EnsureChannelFirstd,
    Invertd,
    LoadImage,
    LoadImaged,
    SaveImaged,
    Spacingd,
)

import medkit
from medkit.bundle.instance import ConfigInstance, own_code, read_config, root_cause
from medkit.bundle.licence import accepted_licence
from medkit.bundle.randomness import kept_random_state
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.bundle.versions import check_versions
from medkit.data.grid import SAME_PLACE_VOXELS, Grid, voxels_apart
from medkit.data.hashing import hash_files
from medkit.data.label_map import as_label_map
from medkit.data.monai_io import GRID_KEY, HandedReader, VolumeReader
from medkit.data.volume import Volume, as_volume
from medkit.errors import CaseError, UsageError
from medkit.inference.ensemble import WeightsFile, digest_with, training_notes
from medkit.inference.members import Activation, Members, find_activation
from medkit.inference.mirroring import Mirroring, lateral_pairs, parse_axes
from medkit.inference.result import Result, count_labels
from medkit.inference.uncertainty import Agreement, Confidence
from medkit.transforms.calibration import soften_boundaries
from medkit.transforms.clean_labels import NOTES_KEY
from medkit.transforms.native_labels import NativeLabelsd
from medkit.transforms.steps import flat_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from medkit.inference.uncertainty import Uncertainty

__all__ = ["LoadedBundle", "load_bundle"]

_PACKAGES = ("monai", "torch", "numpy")


def load_bundle(
    bundle: str | Path,
    *,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    flips: str | Iterable[str] = (),
    weights: Iterable[str | Path] = (),
    accept_licence: bool = False,
) -> LoadedBundle:
    """Load a bundle with its weights.

    Args:
        bundle: name of one of medkit's bundles, or the folder of any MONAI bundle. Its configs are code: load
            only what you trust.
        device: such as ``cpu`` or ``cuda:1``; the bundle's own choice by default.
        overrides: config key path to value, such as ``{"inferer::overlap": 0.5}``.
        flips: axes of the body about which mirrored copies of an image are segmented too and their probabilities
            averaged: ``LR``, ``AP``, ``SI``, or several (``"LR,AP"``: four copies). LR suits networks that were
            trained on mirror images; the others show anatomy that no body has. See
            :func:`medkit.inference.mirroring.lateral_pairs` for labels that lie left and right.
        weights: files to load in the place of the bundle's own; the probabilities of several are averaged. See
            :func:`medkit.inference.ensemble.fold_weights` for those of a training.
        accept_licence: whether you accept the terms of a bundle that forbids commercial use.

    Raises:
        UsageError: no such bundle, terms that were not accepted, packages too old, an unknown override, parts
            that cannot be built, a bundle that does not segment 3D images, flips that it cannot make, or weights
            that do not fit.
    """
    folder = find_bundle(bundle)
    accepted = accepted_licence(folder, accept=accept_licence)
    with kept_random_state():
        files = tuple(WeightsFile(Path(file)) for file in weights)
        return LoadedBundle(folder, device, dict(overrides or {}), parse_axes(flips), files, accepted)


class LoadedBundle:
    """A bundle in memory, ready to predict.

    Args:
        folder: the bundle's files.
        device: see :func:`load_bundle`.
        overrides: see :func:`load_bundle`.
        flips: see :func:`medkit.inference.mirroring.parse_axes`.
        weights: to load in the place of the bundle's own.
        licence: terms that the user had to accept, see :func:`medkit.bundle.licence.accepted_licence`.
    """

    def __init__(
        self,
        folder: BundleFolder,
        device: str | None,
        overrides: dict[str, Any],
        flips: tuple[str, ...],
        weights: tuple[WeightsFile, ...],
        licence: str | None,
    ) -> None:
        check_versions(folder.metadata, folder.name)
        self.folder, self.overrides, self.licence = folder, overrides, licence
        formats = folder.metadata.get("network_data_format", {})
        self.input_format: dict[str, Any] = formats.get("inputs", {}).get("image", {})
        self.output_format: dict[str, Any] = formats.get("outputs", {}).get("pred", {})
        config = ConfigInstance(folder, "inference", {**overrides, **_placed(folder, device)})
        self._check_kind(config)
        _initialize(config)
        self.preprocessing = config.build("preprocessing")
        self.weights_files = weights
        self.network, states = _load_networks(config, weights)
        self.device = torch.device(config.build("device") if "device" in config else "cpu")
        self.inferer = config.build("inferer")
        self.amp = bool(config.build("evaluator::amp")) if "evaluator::amp" in config else False
        self.steps = [
            step for step in flat_steps(config.build("postprocessing")) if not isinstance(step, SaveImaged)
        ]
        self.label_notes = _keep_labels_whole(self.steps)
        self.temperature: float | None = folder.metadata.get("calibration", {}).get("temperature")
        self.members = self._members(flips, states)
        if not any(self._loaders()):
            raise UsageError(f"{folder.root}: 'preprocessing' has no LoadImaged for the key 'image'")
        # Which arrays of a `.npz` are its channels is said by the reader that its config names.
        readers = [reader for loader in self._loaders() for reader in loader.readers]
        self.arrays = next((r.arrays for r in readers if isinstance(r, VolumeReader)), ())
        self.digest = folder.digest(config.checkpoints) if not weights else digest_with(folder, weights)

    def _check_kind(self, config: ConfigInstance) -> None:
        kind, shape = self.output_format.get("format", "segmentation"), self.input_format.get("spatial_shape")
        evaluator = config.parser.get("evaluator", {})
        target = str(evaluator.get("_target_") if isinstance(evaluator, dict) else evaluator)
        got = None
        if kind not in ("segmentation", "labels"):
            got = f"an output declared as '{kind}'"
        elif isinstance(shape, list) and len(shape) != 3:
            got = f"an image of spatial shape {shape}"
        elif evaluator and target.rpartition(".")[2] != "SupervisedEvaluator":
            got = f"an evaluator of its own ({target})"
        if got:
            raise UsageError(
                f"{self.folder.root}: expected a bundle that segments 3D images with MONAI's "
                f"SupervisedEvaluator, got {got}; run it with python -m monai.bundle run"
            )

    def _members(self, flips: tuple[str, ...], states: tuple[dict[str, torch.Tensor], ...]) -> Members | None:
        """What is averaged over; ``None`` for the network's one opinion, which is left as it is."""
        if not flips and len(states) < 2:
            return None
        where = str(self.folder.root)
        stated = self.folder.metadata.get("lateral_pairs")
        pairs = lateral_pairs(_channel_names(self.output_format), stated, where) if "LR" in flips else ()
        several = states if len(states) > 1 else ()
        return Members(Mirroring(flips, pairs), self.activation, several)

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
            "device": str(self.device),
            "versions": {
                "medkit-imaging": medkit.__version__,
                **{name: version(name) for name in _PACKAGES},
            },
        }

    def _members_made(self) -> dict[str, Any]:
        """What is averaged over, each only where it was asked for."""
        made: dict[str, Any] = {}
        if self.weights_files:
            made["weights"] = [file.described for file in self.weights_files]
        if self.members and self.members.mirroring.axes:
            mirroring, names = self.members.mirroring, _channel_names(self.output_format)
            swapped = [[names[left], names[right]] for left, right in mirroring.pairs]
            made["flips"] = {"axes": list(mirroring.axes), "swapped": swapped}
        return made

    def notes_on(self, inputs: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Remarks on an image by its files (``path`` and ``sha256``): that a network was trained on it."""
        return training_notes(self.weights_files, {str(file["sha256"]) for file in inputs})

    def check_probabilities(self) -> None:
        """Check that the bundle has class probabilities on the image's grid to give.

        Raises:
            UsageError: no activation comes before the discretisation, or the inversion comes after it, and no
                NativeLabelsd does both.
        """
        if any(isinstance(step, NativeLabelsd) for step in self.steps):
            return
        kinds = [type(step) for step in self.steps if isinstance(step, (Activationsd, AsDiscreted, Invertd))]
        until = kinds.index(AsDiscreted) if AsDiscreted in kinds else len(kinds)
        if Activationsd not in kinds[:until] or Invertd in kinds[until:] or until == len(kinds):
            got = ", ".join(kind.__name__ for kind in kinds) or "none of them"
            raise UsageError(
                f"{self.folder.root}: expected NativeLabelsd, or Activationsd and Invertd before AsDiscreted, in "
                f"'postprocessing', got {got}; ask for no probabilities"
            )

    def check_uncertainty(self) -> None:
        """Check that the bundle's probabilities can tell how sure it is.

        Raises:
            UsageError: see :meth:`check_probabilities` and :attr:`activation`.
        """
        self.check_probabilities()
        _ = self.activation

    def predict(
        self, image: Any, affine: Any = None, *, probabilities: bool = False, uncertainty: bool = False
    ) -> Result:
        """Segment one image.

        Args:
            image: see :func:`medkit.data.as_volume`.
            affine: 4x4 to RAS millimetres, with a bare array.
            probabilities: keep the class probabilities as well, ``(C, I, J, K)`` in float32.
            uncertainty: say how sure the labels are; see :class:`medkit.inference.uncertainty.Uncertainty`.

        Raises:
            UsageError: the bundle has no probabilities to give, or ``image`` is of no known kind.
            CaseError: the image is unfit for this bundle, or a step of the bundle failed on it.
        """
        begin = time.perf_counter()
        volume = as_volume(image, affine, self.arrays)
        seconds = {"read": round(time.perf_counter() - begin, 4)}
        result = self.predict_volume(volume, probabilities=probabilities, uncertainty=uncertainty)
        named = image if isinstance(image, (list, tuple)) else [image]
        files = tuple(Path(item).absolute() for item in named if isinstance(item, (str, Path)))
        notes = (
            self.notes_on([{"sha256": hash_files([file])} for file in files]) if self.weights_files else ()
        )
        return replace(
            result, files=files, seconds={**seconds, **result.seconds}, notes=(*result.notes, *notes)
        )

    def predict_volume(
        self, volume: Volume, *, probabilities: bool = False, uncertainty: bool = False
    ) -> Result:
        """Segment a volume that was read and checked already; see :meth:`predict`."""
        if probabilities:
            self.check_probabilities()
        if uncertainty:
            self.check_uncertainty()
        soft = _Soft(self.activation if uncertainty else None, keep=probabilities)
        agreement = Agreement(self.members.activation) if uncertainty and self.members else None
        seconds: dict[str, float] = {}
        self._check_size(volume)
        with own_code(self.folder.root), torch.no_grad():
            with _step("preprocessing", volume, seconds):
                item = self._preprocess(volume)
            self._check_channels(item["image"], volume)
            _check_finite(item["image"], "preprocessed image", volume)
            with _step("inference", volume, seconds):
                item = self._infer(item, agreement)
            _check_finite(item["pred"], "network's output", volume)
            with _step("postprocessing", volume, seconds):
                item = self._postprocess(item, soft)
        labels = _whole_numbers(item["pred"], volume)
        grid, notes = _grid_of(item["pred"], volume)
        names = _label_names(self.output_format, labels)
        return Result(
            volume=volume,
            labels=labels,
            grid=grid,
            label_names=names,
            provenance=self.provenance,
            seconds=seconds,
            probabilities=soft.probabilities,
            uncertainty=soft.judge(labels, names, grid, agreement),
            notes=(
                *volume.notes,
                *self.label_notes,
                *self._field_notes(volume),
                *notes,
                *item.get(NOTES_KEY, ()),
            ),
        )

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

    def _check_channels(self, image: torch.Tensor, volume: Volume) -> None:
        expected = self.input_format.get("num_channels")
        if expected is not None and image.shape[0] != expected:
            raise CaseError(
                "wrong-channels",
                f"{volume.name}: expected an image of {expected} channel(s) for {self.folder.name}, got "
                f"{image.shape[0]}; name one file per channel in a JSON list, or pick the channels it wants",
            )

    def _loaders(self) -> Iterator[LoadImage]:
        for step in flat_steps(self.preprocessing):
            if isinstance(step, LoadImaged) and "image" in step.keys:
                yield step._loader

    def _preprocess(self, volume: Volume) -> dict[str, Any]:
        reader = HandedReader(volume, _channel_axis(self.preprocessing))
        for loader in self._loaders():
            loader.readers, loader.auto_select = [reader], True
        return dict(self.preprocessing({"image": volume.name}))

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
        return dict(decollate_batch(batch)[0])

    def _postprocess(self, item: dict[str, Any], soft: _Soft) -> dict[str, Any]:
        """Run the bundle's steps, and keep of the probabilities what is wanted before they become labels."""
        first = next((step for step in self.steps if isinstance(step, (AsDiscreted, NativeLabelsd))), None)
        for step in self.steps:
            if step is first and soft.is_wanted:
                soft.take(self._probabilities(step, item))
            item = step(item)
        return item

    def _probabilities(self, step: NativeLabelsd | AsDiscreted, item: dict[str, Any]) -> torch.Tensor:
        """Class probabilities on the grid of the image, calibrated if the bundle is; ``step`` makes labels of them."""
        if isinstance(step, AsDiscreted):
            probabilities: torch.Tensor = item["pred"]
            return probabilities
        if self.temperature is not None:
            item = {**item, "pred": soften_boundaries(item["pred"], self.temperature)}
        return step.probabilities(item, "pred")


class _Soft:
    """What is kept of the probabilities.

    Args:
        activation: to take entropy and expected size by; ``None`` for not to.
        keep: whether to keep them all.
    """

    def __init__(self, activation: Activation | None, *, keep: bool) -> None:
        self.activation, self.keep = activation, keep
        self.confidence: Confidence | None = None
        self.probabilities: NDArray[np.float32] | None = None

    @property
    def is_wanted(self) -> bool:
        return self.keep or self.activation is not None

    def take(self, pred: torch.Tensor) -> None:
        if self.activation:
            self.confidence = Confidence(pred, self.activation)
        if self.keep:
            self.probabilities = np.asarray(pred.cpu(), dtype=np.float32)  # the next step makes a new tensor

    def judge(
        self, labels: NDArray[Any], names: dict[int, str], grid: Grid, agreement: Agreement | None
    ) -> Uncertainty | None:
        if self.confidence is None:
            return None
        return self.confidence.judge(labels, names, grid.voxel_volume_ml, agreement)


def _load_networks(
    config: ConfigInstance, files: Sequence[WeightsFile]
) -> tuple[nn.Module, tuple[dict[str, torch.Tensor], ...]]:
    """The network with the bundle's weights or the last of others, and the states that all others put it in."""
    if not files:
        return config.network_with_weights(), ()
    states = []
    for file in files:
        network = config.network_with_weights(file.path)
        states.append({name: value.cpu().clone() for name, value in network.state_dict().items()})
    return network, tuple(states)


def _channel_axis(preprocessing: Any) -> int:
    """The axis that the bundle says its channels are on; the first if it leaves that to the metadata."""
    for step in flat_steps(preprocessing):
        if isinstance(step, EnsureChannelFirstd) and isinstance(step.adjuster.input_channel_dim, int):
            return step.adjuster.input_channel_dim
    return 0


def _initialize(config: ConfigInstance) -> None:
    """Evaluate ``initialize``, less what concerns the evaluator: that would need the author's own data."""
    steps = config.parser.get("initialize", [])
    places = range(len(steps)) if isinstance(steps, list) else [None]
    for place in places:
        key = "initialize" if place is None else f"initialize::{place}"
        if "@evaluator" not in str(config.parser[key]):
            config.build(key)


def _keep_labels_whole(steps: list[Any]) -> list[str]:
    """Let labels go back to the image's grid by nearest neighbours where a bundle would blend them."""
    discrete = False
    for step in steps:
        discrete = discrete or isinstance(step, AsDiscreted)
        if discrete and isinstance(step, Invertd) and not all(step.nearest_interp):
            step.nearest_interp = (True,) * len(step.keys)
            return ["labels were returned to the image's grid by nearest neighbours, not blended"]
    return []


def _placed(folder: BundleFolder, device: str | None) -> dict[str, Any]:
    """The config change that puts a bundle on a device."""
    if not device:
        return {}
    if "device" not in read_config(folder, "inference"):
        raise UsageError(
            f"--device {device}: expected a 'device' in {folder.config_path('inference')}, got a config without "
            "one; leave --device out, or give the config a 'device' and let its parts refer to it"
        )
    return {"device": f"$torch.device('{_usable(device)}')"}


def _usable(device: str) -> str:
    try:
        torch.zeros(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        line = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {device}: cannot be used here ({line})") from error
    return device


@contextmanager
def _step(name: str, volume: Volume, seconds: dict[str, float]) -> Iterator[None]:
    """Time a step of the bundle; whatever it raises becomes this case's failure."""
    begin = time.perf_counter()
    try:
        yield
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, CaseError):
            raise cause from error
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


def _whole_numbers(pred: Any, volume: Volume) -> NDArray[np.unsignedinteger[Any]]:
    """The output ``(C, I, J, K)`` as a label map ``(I, J, K)`` or, of several channels, masks at the end."""
    array = np.asarray(pred.cpu())
    if array.ndim != 4:
        raise CaseError(
            "output-not-3d",
            f"{volume.name}: expected an output (C, I, J, K) from the bundle, got shape {array.shape}; "
            "its postprocessing is at fault",
        )
    try:
        whole = as_label_map(array)
    except ValueError as error:
        raise CaseError(
            "output-not-labels",
            f"{volume.name}: expected whole numbers as labels from the bundle, got {error}; "
            "let its postprocessing end in AsDiscreted",
        ) from error
    return whole[0] if len(whole) == 1 else np.moveaxis(whole, 0, -1)


def _has_place(tensor: Any) -> bool:
    return isinstance(tensor, MetaTensor) and GRID_KEY in tensor.meta


def _affine_of(image: Any) -> NDArray[np.float64]:
    if not _has_place(image):
        raise ValueError(
            "expected a preprocessed image that knows its place, to mirror it, got one without metadata; predict "
            "without flips"
        )
    return np.asarray(image.affine.cpu().numpy(), dtype=np.float64)


def _grid_of(pred: Any, volume: Volume) -> tuple[Grid, list[str]]:
    """The grid of the output: the image's own, to the last digit, if the bundle returned to it."""
    # An equal shape is no proof (axes may be flipped), nor is an affine: MONAI makes up one that was lost.
    if not _has_place(pred):
        raise CaseError(
            "output-without-place",
            f"{volume.name}: expected an output that knows its place in the image, got one without metadata; "
            "let all of the bundle's transforms keep it",
        )
    shape = (int(pred.shape[1]), int(pred.shape[2]), int(pred.shape[3]))
    affine = pred.affine.cpu().numpy().astype(np.float64)
    apart = voxels_apart(shape, volume.grid.affine, affine)
    if shape == volume.grid.shape and apart <= SAME_PLACE_VOXELS:
        return volume.grid, []
    grid = Grid(shape, affine, size_known=volume.grid.size_known)
    return grid, ["the bundle does not return to the image's grid; the result lies on its own"]


def _channel_names(output: Mapping[str, Any]) -> dict[int, str]:
    named = output.get("channel_def") or {}
    return {int(key): str(name) for key, name in named.items() if str(key).isdigit()}


def _label_names(output: Mapping[str, Any], labels: NDArray[Any]) -> dict[int, str]:
    """Value (of a label map) or channel (of masks) to name, background left out.

    ``channel_def`` of the metadata names channels. They are the values of a label map only where channel 0
    is the background: BraTS bundles fold overlapping masks into values of their own.
    """
    declared = _channel_names(output)
    background = declared.get(0, "background").strip().lower() == "background"
    if labels.ndim == 4:
        channels = range(1 if background and 0 in declared else 0, labels.shape[3])
        return {channel: declared.get(channel, f"channel {channel}") for channel in channels}
    if not background:
        declared = {1: declared[0]} if len(declared) == 1 else {}
    values = {*declared, *count_labels(labels)} - {0}
    return {value: declared.get(value, f"label {value}") for value in sorted(values)}
