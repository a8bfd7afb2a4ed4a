"""Turn what a user names (files, folders, lists) into cases with names of their own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.data.reading import READABLE_SUFFIXES, file_suffix
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Case", "find_cases"]


@dataclass(frozen=True)
class Case:
    """One image to process.

    Args:
        name: path relative to the common root of all cases, without its suffix.
        paths: one file, or one file per channel.
    """

    name: str
    paths: tuple[Path, ...]


def find_cases(inputs: Sequence[str | Path]) -> list[Case]:
    """Cases named by files, folders (searched in depth) and lists.

    A list is a ``.txt`` file with a path a line, or a ``.json`` file with an array of paths, of arrays of
    paths (one per channel), or of ``{"image": ...}`` entries; its paths are relative to the list's own
    folder. A missing file in a list stays a case, so that it is reported as one and the others go on.

    Raises:
        UsageError: a path does not exist, a folder or list is empty, or two files would get one name.
    """
    groups = [group for item in inputs for group in _expand(Path(item))]
    if not groups:
        raise UsageError("no input was named: pass image files, folders, or a .txt or .json list of them")
    groups = list(dict.fromkeys(groups))
    root = Path(os.path.commonpath([group[0].parent for group in groups]))
    cases: dict[str, Case] = {}
    for group in groups:
        relative = group[0].relative_to(root).as_posix()
        name = relative[: len(relative) - len(file_suffix(group[0]) or group[0].suffix)]
        if name in cases:
            raise UsageError(
                f"two inputs would both be case '{name}': {cases[name].paths[0]} and {group[0]}; "
                "rename one or process them into different folders"
            )
        cases[name] = Case(name, group)
    return list(cases.values())


def _expand(path: Path) -> Iterable[tuple[Path, ...]]:
    if path.is_dir():
        found = sorted(entry for entry in path.rglob("*") if _is_image(entry))
        if not found:
            raise UsageError(
                f"{path}: the folder holds no image; expected files ending in {', '.join(READABLE_SUFFIXES)}"
            )
        return [(entry.absolute(),) for entry in found]
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if path.suffix == ".txt":
        return _resolve(path, [line for line in path.read_text().splitlines() if line.strip()])
    if path.suffix == ".json":
        return _resolve(path, _json_entries(path))
    return [(path.absolute(),)]


def _is_image(path: Path) -> bool:
    # The .img of a pair comes in with its .hdr, and hidden files are other programs' left-overs.
    pair = path.suffix == ".img" and path.with_suffix(".hdr").exists()
    return file_suffix(path) is not None and path.is_file() and not path.name.startswith(".") and not pair


def _json_entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected a JSON array of image paths, got {type(entries).__name__}")
    return [entry.get("image") if isinstance(entry, dict) else entry for entry in entries]


def _resolve(path: Path, entries: list[Any]) -> list[tuple[Path, ...]]:
    if not entries:
        raise UsageError(f"{path}: the list is empty; expected one image path an entry")
    groups = []
    for number, entry in enumerate(entries, 1):
        names = entry if isinstance(entry, list) else [entry]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise UsageError(f"{path}: entry {number} is {entry!r}; expected a path or an array of paths")
        groups.append(tuple((path.parent / name.strip()).absolute() for name in names))
    return groups
