"""Load a bundle: build the parts of its inference config, with its own weights or others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import AsDiscreted, Invertd, LoadImaged, SaveImaged

from medkit.bundle.instance import ConfigInstance, note_bundle, read_config
from medkit.bundle.licence import accepted_licence
from medkit.bundle.randomness import kept_random_state
from medkit.bundle.store import find_bundle
from medkit.bundle.versions import check_versions
from medkit.errors import UsageError
from medkit.inference.channel_names import channel_names
from medkit.inference.ensemble import WeightsFile, check_differ, digest_with
from medkit.inference.members import Members, find_activation
from medkit.inference.mirroring import Mirroring, lateral_pairs, parse_axes
from medkit.inference.native_labels import check_gives_scores
from medkit.inference.predictor import LoadedBundle
from medkit.transforms.steps import flat_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monai.transforms import LoadImage
    from torch import Tensor, nn

    from medkit.bundle.store import BundleFolder

__all__ = ["check_device", "load_bundle"]


def load_bundle(
    bundle: str | Path,
    *,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    flips: str | Iterable[str] = (),
    weights: Iterable[str | Path] = (),
    accept_licence: bool = False,
    calibrate: bool = True,
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
        calibrate: whether probabilities are calibrated where the bundle has a temperature for what runs; see
            :attr:`medkit.inference.predictor.LoadedBundle.calibration`.

    Raises:
        UsageError: no such bundle, terms that were not accepted, packages too old, an unknown override, parts
            that cannot be built, a bundle that does not segment 3D images, flips that it cannot make, or weights
            that do not fit, or that are there twice.
    """
    folder = find_bundle(bundle)
    licence = accepted_licence(folder, accept=accept_licence)
    files, axes = tuple(WeightsFile(Path(file)) for file in weights), parse_axes(flips)
    check_differ(files)
    with kept_random_state():
        loaded = _build(folder, device, dict(overrides or {}), axes, files, licence, calibrate)
    note_bundle(folder, loaded.digest)
    return loaded


def _build(
    folder: BundleFolder,
    device: str | None,
    overrides: dict[str, Any],
    axes: tuple[str, ...],
    files: tuple[WeightsFile, ...],
    licence: str | None,
    calibrate: bool,
) -> LoadedBundle:
    check_versions(folder.metadata, folder.name)
    config = ConfigInstance(folder, "inference", {**overrides, **_placed(folder, device)})
    formats = folder.metadata.get("network_data_format", {})
    inputs, outputs = formats.get("inputs", {}).get("image", {}), formats.get("outputs", {}).get("pred", {})
    _check_kind(config, inputs, outputs)
    _initialize(config)
    preprocessing = config.build("preprocessing")
    network, states = _load_networks(config, files)
    computes_on = torch.device(config.build("device") if "device" in config else "cpu")
    inferer = config.build("inferer")
    amp = bool(config.build("evaluator::amp")) if "evaluator::amp" in config else False
    steps = [step for step in flat_steps(config.build("postprocessing")) if not isinstance(step, SaveImaged)]
    return LoadedBundle(
        folder=folder,
        overrides=overrides,
        licence=licence,
        input_format=inputs,
        output_format=outputs,
        preprocessing=preprocessing,
        network=network,
        device=computes_on,
        inferer=inferer,
        amp=amp,
        steps=steps,
        label_notes=_keep_labels_whole(steps),
        members=_members(folder, axes, states, inferer, steps, channel_names(outputs)),
        loaders=_image_loaders(preprocessing, folder),
        weights_files=files,
        calibrate=calibrate,
        digest=_digest(config, files),
    )


def _digest(config: ConfigInstance, files: Sequence[WeightsFile]) -> str:
    """Identity of what runs, as it was built."""
    changed: Mapping[str, Any] = config.parser.get()
    if not files:
        return config.folder.digest(config.checkpoints, config.bundles, changed)
    return digest_with(config.folder.digest((), config.bundles, changed), files)


def _placed(folder: BundleFolder, device: str | None) -> dict[str, Any]:
    """The config change that puts a bundle on a device."""
    if not device:
        return {}
    if "device" not in read_config(folder, "inference"):
        raise UsageError(
            f"--device {device}: expected a 'device' in {folder.config_path('inference')}, got a config without "
            "one; leave --device out, or give the config a 'device' and let its parts refer to it"
        )
    check_device(device)
    return {"device": f"$torch.device('{device}')"}


def check_device(device: str) -> None:
    """See that something can be computed on a device, such as ``cuda:1``.

    Raises:
        UsageError: nothing can.
    """
    try:
        torch.zeros(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        line = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {device}: cannot be used here ({line})") from error


def _check_kind(config: ConfigInstance, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    kind, shape = outputs.get("format", "segmentation"), inputs.get("spatial_shape")
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
            f"{config.folder.root}: expected a bundle that segments 3D images with MONAI's "
            f"SupervisedEvaluator, got {got}; run it with python -m monai.bundle run"
        )


def _initialize(config: ConfigInstance) -> None:
    """Evaluate ``initialize``, less what concerns the evaluator: that would need the author's own data."""
    steps = config.parser.get("initialize", [])
    places = range(len(steps)) if isinstance(steps, list) else [None]
    for place in places:
        key = "initialize" if place is None else f"initialize::{place}"
        if "@evaluator" not in str(config.parser[key]):
            config.build(key)


def _load_networks(
    config: ConfigInstance, files: Sequence[WeightsFile]
) -> tuple[nn.Module, tuple[dict[str, Tensor], ...]]:
    """The network with the bundle's weights or the last of others, and the states that all others put it in."""
    if not files:
        return config.network_with_weights(), ()
    states = []
    for file in files:
        network = config.network_with_weights(file.path)
        states.append({name: value.cpu().clone() for name, value in network.state_dict().items()})
    return network, tuple(states)


def _keep_labels_whole(steps: list[Any]) -> tuple[str, ...]:
    """Let labels go back to the image's grid by nearest neighbours where a bundle would blend them."""
    discrete = False
    for step in steps:
        discrete = discrete or isinstance(step, AsDiscreted)
        if discrete and isinstance(step, Invertd) and not all(step.nearest_interp):
            step.nearest_interp = (True,) * len(step.keys)
            return ("labels were returned to the image's grid by nearest neighbours, not blended",)
    return ()


def _members(
    folder: BundleFolder,
    axes: tuple[str, ...],
    states: tuple[dict[str, Tensor], ...],
    inferer: Any,
    steps: list[Any],
    names: Mapping[int, str],
) -> Members | None:
    """What is averaged over; ``None`` for the network's one opinion, which is left as it is."""
    if not axes and len(states) < 2:
        return None
    where = str(folder.root)
    check_gives_scores(inferer, "flips" if axes else "several networks", where)
    pairs = lateral_pairs(names, folder.metadata.get("lateral_pairs"), where) if "LR" in axes else ()
    return Members(Mirroring(axes, pairs), find_activation(steps, where), states if len(states) > 1 else ())


def _image_loaders(preprocessing: Any, folder: BundleFolder) -> list[LoadImage]:
    """What reads the image."""
    steps = (step for step in flat_steps(preprocessing) if isinstance(step, LoadImaged))
    if not (loaders := [step._loader for step in steps if "image" in step.keys]):
        raise UsageError(f"{folder.root}: 'preprocessing' has no LoadImaged for the key 'image'")
    return loaders
