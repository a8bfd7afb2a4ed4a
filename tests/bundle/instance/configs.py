"""An inference config, brought to life."""

from __future__ import annotations

from pathlib import Path

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import BundleFolder


def inference(root: Path, **overrides) -> ConfigInstance:
    return ConfigInstance(BundleFolder(root), "inference", overrides)
