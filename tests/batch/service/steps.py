"""A step for throw-away bundles that ends its process, or takes for ever, for images of some sizes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tiny_bundle import edit_json, make_tiny_bundle

DEADLY, SLOW, HEALTHY = (20, 18, 11), (20, 18, 12), (20, 18, 14)


def _voxels(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


class Poison:
    """Kills its process, or sleeps, where the image has the size that does so."""

    def __call__(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        voxels = item["image"].numel()
        if voxels == _voxels(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        if voxels == _voxels(SLOW):
            time.sleep(3600)
        return item


def bundle_with_poison(folder: Path) -> Path:
    """A tiny bundle that deadly and slow images harm."""
    root = make_tiny_bundle(folder)
    edit_json(root / "configs" / "inference.json", lambda config: config.update(patch_size=[16, 16, 16]))
    return add_poison(root)


def add_poison(root: Path) -> Path:
    """Let deadly and slow images harm a bundle."""

    def change(config: dict[str, Any]) -> None:
        config["poison"] = {"_target_": "tests.batch.service.steps.Poison"}
        config["preprocessing"]["transforms"].insert(1, "@poison")  # after the image is there

    edit_json(root / "configs" / "inference.json", change)
    return root
