"""Copy a bundle without its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from medkit.bundle.store import BundleFolder

__all__ = ["copy_without_weights"]

_LEFT_OUT = {"models", "runs", "mlruns"}


def copy_without_weights(bundle: BundleFolder, target: Path) -> None:
    """Copy configs, documents and code, and leave weights and runs behind.

    Args:
        bundle: to copy.
        target: folder that does not exist yet.
    """

    def left_out(folder: str, names: list[str]) -> set[str]:
        at_root = _LEFT_OUT if Path(folder) == bundle.root else set()
        return {name for name in names if name in at_root or name == "__pycache__"}

    shutil.copytree(bundle.root, target, ignore=left_out)
