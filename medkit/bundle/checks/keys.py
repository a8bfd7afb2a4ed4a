"""The names by which MONAI and other clients look up the parts of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.bundle import ConfigWorkflow
from monai.utils import BundleProperty, BundlePropertyConfig

from medkit.bundle.checks.parts import STEPS, walk
from medkit.bundle.instance import ConfigInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.checks.finding import Note
    from medkit.bundle.checks.subject import Subject

__all__ = ["client_keys", "properties"]

# What MONAI Label, MONAI Deploy and `monai.bundle.load` look for in an inference config.
_CLIENT_KEYS = (
    "bundle_root", "dataset_dir", "output_dir", "device", "network_def", "network", "preprocessing",
    "dataset", "dataset::data", "dataloader", "inferer", "postprocessing", "handlers", "checkpointloader",
    "checkpointloader::map_location", "evaluator", "initialize", "run",
)  # fmt: skip


def client_keys(subject: Subject) -> Iterator[str | Note]:
    """The inference config has every key, and the metadata every tensor, that a client looks for."""
    where, nodes = subject.where("inference"), dict(walk(subject.config("inference")))
    for key in _CLIENT_KEYS:
        if key not in nodes:
            yield f"{where}: no '{key}'; clients look the part up by this name, so add it"
    place = "checkpointloader::map_location"
    if place in nodes and nodes[place] != "@device":
        yield (
            f"{where}: '{place}': expected '@device', got {nodes[place]!r:.80}; weights saved on a GPU would not "
            "load without one"
        )
    for kind in subject.kinds:
        yield from _steps(subject, kind)
        yield from _device(subject, kind)
    subject.tensor_format("inputs", "image")
    subject.tensor_format("outputs", "pred")


def _steps(subject: Subject, kind: str) -> Iterator[str]:
    """What is run are expressions; to run nothing is no use."""
    config, where = subject.config(kind), subject.where(kind)
    for key in STEPS:
        given = config.get(key)
        steps = given if isinstance(given, list) else [given]
        wrong = [step for step in steps if not isinstance(step, str) or step[:1] not in ("$", "@", "%")]
        if key in config and (wrong or (key == "run" and not steps)):
            yield f"{where}: '{key}': expected expressions such as '$@evaluator.run()', got {given!r:.80}"


def _device(subject: Subject, kind: str) -> Iterator[str]:
    """The device is one that PyTorch knows; all other checks put the CPU in its place."""
    config = ConfigInstance(subject.folder, kind, {})
    if "device" in config:
        device = config.build("device")
        try:
            torch.device(device)
        except (RuntimeError, TypeError):
            yield f"{subject.where(kind)}: 'device': expected one such as cuda:0 or cpu, got {device!r:.80}"


def properties(subject: Subject) -> Iterator[str | Note]:
    """The properties that ``ConfigWorkflow.check_properties`` asks for; it stops at the first fault."""
    for kind in subject.kinds:
        subject.config(kind)  # says more than MONAI does if it cannot be read
        workflow = ConfigWorkflow(
            config_file=str(subject.folder.config_path(kind)),
            meta_file=str(subject.folder.config_path("metadata")),
            logging_file=False,
            workflow_type="infer" if kind == "inference" else "train",
        )
        for name, prop in workflow.properties.items():
            key = prop[BundlePropertyConfig.ID]
            if prop[BundleProperty.REQUIRED] and key not in workflow.parser:
                place = "configs/metadata.json" if key.startswith("_meta_") else subject.where(kind)
                yield f"{place}: no '{key.removeprefix('_meta_::')}', a property that MONAI requires: add it"
            elif not prop[BundleProperty.REQUIRED] and not _refers_by_name(workflow, name, prop):
                yield (
                    f"{subject.where(kind)}: '{prop[BundlePropertyConfig.REF_ID]}': expected '@{key}', the "
                    "name by which MONAI knows the part; move it there and refer to it"
                )


def _refers_by_name(workflow: ConfigWorkflow, name: str, prop: dict[str, Any]) -> bool:
    try:
        return bool(workflow._check_optional_id(name, prop))
    except (AttributeError, TypeError, KeyError):  # MONAI takes for granted that a reference stands there
        return False
