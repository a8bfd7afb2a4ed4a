"""Know again the code that a result was made by."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import medkit

_SUFFIXES = {".c", ".h", ".py"}


def sources_sha256(folders: Iterable[str], scripts: Iterable[Path] = ()) -> str:
    """Hash of parts of medkit and of scripts.

    Args:
        folders: inside of medkit.
        scripts: files beside the benchmark.
    """
    root = Path(medkit.__file__).parent
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in (root / folder).rglob("*") if path.is_file()):
            if path.suffix in _SUFFIXES:
                digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    for path in scripts:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
