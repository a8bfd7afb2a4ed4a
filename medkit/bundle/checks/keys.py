"""The names by which MONAI and other clients look up the parts of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import BundleProperty, BundlePropertyConfig

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
    where, parser = subject.where("inference"), ConfigParser(subject.config("inference"))
    for key in _CLIENT_KEYS:
        if key not in parser:
            yield f"{where}: no '{key}'; clients look the part up by this name, so add it"
    if (place := parser.get("checkpointloader::map_location")) not in (None, "@device"):
        yield (
            f"{where}: 'checkpointloader::map_location': expected '@device', got {place!r}; weights saved "
            "on a GPU would not load without one"
        )
    subject.tensor_format("inputs", "image")
    subject.tensor_format("outputs", "pred")


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
