"""Turn what a user names (files, folders, lists) into cases with names of their own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.data.archives import ARCHIVE_SUFFIX
from medkit.data.peek import source_files
from medkit.data.reading import READABLE_SUFFIXES, file_suffix
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["PADDING_MASK", "Case", "find_cases"]

PADDING_MASK = "_padding.nii.gz"
"""How the name of a mask ends that lies beside ``NAME.nii.gz`` and says which of its voxels are no measurement."""

_LONGEST_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True)
class Case:
    """One image to process.

    Args:
        name: path relative to the common root of all cases, without its suffix.
        paths: one file, or one file per channel.
    """

    name: str
    paths: tuple[Path, ...]


def find_cases(
    inputs: Sequence[str | Path], *, on_left_out: Callable[[str], None] = lambda line: None
) -> list[Case]:
    """Cases named by files, folders (searched in depth, hidden entries left out) and lists.

    Of a folder, ``.npz`` files are cases only where it holds no other image: beside images they are other
    programs' arrays, unless they are named themselves. Masks ``NAME_padding.nii.gz``, which ``medkit dicom convert``
    writes beside ``NAME.nii.gz``, are no cases.

    A list is a ``.txt`` file with a path a line, or a ``.json`` file with an array of paths, of arrays of
    paths (one per channel), or of ``{"image": ...}`` entries; its paths are relative to the list's own
    folder. A missing file in a list stays a case, so that it is reported as one and the others go on.

    The common root is that of the folders named, of the files' own folders and of the lists' entries'.

    Args:
        inputs: files, folders and lists.
        on_left_out: called with a line on the ``.npz`` files of a folder that became no cases.

    Raises:
        UsageError: a path does not exist, a folder or list is empty or cannot be read, a name is too long, or
            two files would get one name.
    """
    try:
        found = [pair for item in inputs for pair in _expand(Path(item))]
    except OSError as error:
        raise UsageError(
            f"{error.filename}: expected a path, got one that fails ({error.strerror})"
        ) from error
    if not found:
        raise UsageError("no input was named: pass image files, folders, or a .txt or .json list of them")
    groups = dict.fromkeys(group for _, group in found)
    taken = {path for group in groups for path in group}
    for item in inputs:
        if arrays := [path for path in _arrays_left_out(Path(item)) if path not in taken]:
            on_left_out(_told_left_out(Path(item), arrays))
    root = Path(os.path.commonpath([folder for folder, _ in found]))
    cases: dict[str, Case] = {}
    for group in groups:
        relative = group[0].relative_to(root).as_posix()
        name = relative[: len(relative) - len(file_suffix(group[0]) or group[0].suffix)]
        if max(len(os.fsencode(part)) for part in name.split("/")) > _LONGEST_NAME:
            raise UsageError(
                f"{group[0]}: expected names of at most {_LONGEST_NAME} bytes, since those of the results are "
                "longer, got a longer one; rename it"
            )
        if name in cases:
            raise UsageError(
                f"two inputs would both be case '{name}': {cases[name].paths[0]} and {group[0]}; "
                "rename one or process them into different folders"
            )
        cases[name] = Case(name, group)
    return list(cases.values())


def _expand(path: Path) -> Iterable[tuple[Path, tuple[Path, ...]]]:
    """Folder to name by, and files, of each case that a path stands for."""
    if path.is_dir():
        folder = Path(os.path.realpath(path))
        if not (found := _images_below(folder)):
            raise UsageError(
                f"{path}: expected image files (ending in {', '.join(READABLE_SUFFIXES)}), got a folder "
                "with none; name another folder, or the files themselves; DICOM series become such files with "
                "'medkit dicom convert'"
            )
        return [(folder, (file,)) for file in found]
    if not path.exists():
        raise UsageError(f"{path}: expected a file or folder, got nothing there; check the path")
    if path.suffix == ".txt":
        groups = _resolve(path, [line for line in _text(path).splitlines() if line.strip()])
    elif path.suffix == ".json":
        groups = _resolve(path, _json_entries(path))
    else:
        groups = [(_absolute(path),)]
    return [(group[0].parent, group) for group in groups]


def _absolute(path: Path) -> Path:
    """Without ``..``, which would lead names out of the output folder; a linked file keeps its own name."""
    return Path(os.path.realpath(path.parent), path.name)


def _images_below(folder: Path) -> list[Path]:
    """Images in a folder and all below it, sorted; arrays of numpy only where there are no others."""
    found = sorted(_candidates_below(folder))
    return [path for path in found if not _is_archive(path)] or found


def _arrays_left_out(path: Path) -> list[Path]:
    """The arrays of numpy in a folder that holds other images as well, sorted."""
    if not path.is_dir():
        return []
    found = sorted(_candidates_below(Path(os.path.realpath(path))))
    arrays = [file for file in found if _is_archive(file)]
    return arrays if len(arrays) < len(found) else []


def _told_left_out(folder: Path, arrays: Sequence[Path]) -> str:
    first = arrays[0].relative_to(os.path.realpath(folder))
    more = f" and {len(arrays) - 1} more" if len(arrays) > 1 else ""
    return (
        f"{folder}: {first}{more}: of a folder with other images, {ARCHIVE_SUFFIX} files are taken for other programs' "
        "arrays; name them, or a list of them, if they are cases"
    )


def _is_archive(path: Path) -> bool:
    return file_suffix(path) == ARCHIVE_SUFFIX


def _candidates_below(folder: Path) -> Iterable[Path]:
    """All that may be an image; linked folders are entered, each once."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(here, name) for name in files if _is_image(Path(here, name)))
        # Links last, so that what is there twice goes by its own name.
        visible = sorted(Path(here, name) for name in folders if not name.startswith("."))
        folders[:] = [path.name for path in sorted(visible, key=Path.is_symlink)]


def _raise(error: OSError) -> None:
    raise error


def _is_image(path: Path) -> bool:
    # The .img of a pair comes in with its .hdr, and hidden files are other programs' left-overs.
    suffix = file_suffix(path) or ""
    pair = suffix.startswith(".img") and any(
        (file_suffix(other) or "").startswith(".hdr") for other in source_files(path)
    )
    return bool(suffix) and not path.name.startswith(".") and not pair and not _is_padding_mask(path)


def _is_padding_mask(path: Path) -> bool:
    name = path.name.removesuffix(PADDING_MASK)
    return name != path.name and path.with_name(f"{name}.nii.gz").exists()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected a list in UTF-8, got another encoding ({error})") from error


def _json_entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(_text(path))
    except ValueError as error:
        raise UsageError(
            f"{path}: expected a JSON array of image paths, got invalid JSON ({error})"
        ) from error
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected a JSON array of image paths, got {type(entries).__name__}")
    return [entry.get("image", entry) if isinstance(entry, dict) else entry for entry in entries]


def _resolve(path: Path, entries: list[Any]) -> list[tuple[Path, ...]]:
    if not entries:
        raise UsageError(f"{path}: expected one image path an entry, got an empty list; add the images to it")
    groups = []
    for number, entry in enumerate(entries, 1):
        names = entry if isinstance(entry, list) else [entry]
        if not names or not all(isinstance(name, str) and name.strip() for name in names):
            raise UsageError(
                f'{path}: expected a path, an array of paths or {{"image": path}} as entry {number}, got {entry!r}'
            )
        groups.append(tuple(_absolute(path.parent / name.strip()) for name in names))
    return groups
