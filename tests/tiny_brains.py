"""The bundle of the whole brain made tiny, with random weights, which find no brain: it refuses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.tiny_bundle import SOURCE, edit_json, save_weights

NAME = "brain_anatomy_segmentation"


def make_tiny_brains(folder: Path) -> Path:
    """Write the bundle into ``folder`` under its own name, always with the same weights; return its root."""
    ignored = shutil.ignore_patterns("models", "__pycache__")
    root = Path(shutil.copytree(SOURCE.parent / NAME, folder / NAME, ignore=ignored))
    for path in (root / "configs").glob("*.json"):
        if path.stem != "metadata":
            edit_json(path, _make_small)
    edit_json(
        root / "configs" / "inference.json",
        lambda config: config["postprocessing"]["transforms"].remove("@expected"),
    )
    save_weights(root)
    return root


def _make_small(config: dict[str, Any]) -> None:
    config["network_def"]["network"].update(filters=[8, 12], strides=[2])
    config.update(patch_size=[32, 32, 32])
