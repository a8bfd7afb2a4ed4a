"""SHA-256 of files, by which an image is known again wherever it lies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from medkit.data.peek import source_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["hash_files", "hash_image"]


def hash_files(paths: Iterable[Path]) -> str | None:
    """SHA-256 over the contents of files, one after the other; ``None`` if one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except (OSError, ValueError):  # a damaged header may name a file with a null byte
            return None
    return digest.hexdigest()


def hash_image(path: Path) -> str | None:
    """SHA-256 over all files that reading an image takes, detached voxels included; see :func:`hash_files`."""
    return hash_files(source_files(path))
