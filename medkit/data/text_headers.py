"""What ITK neither keeps nor checks of NRRD and MetaImage files, read from their text headers."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

from medkit.data.grid import SIDE_UNKNOWN_NOTE
from medkit.errors import CaseError

__all__ = [
    "SIDE_UNKNOWN_FIELD",
    "check_metaimage_axes",
    "check_metaimage_stream",
    "check_metaimage_units",
    "check_nrrd_stream",
    "data_files",
    "metaimage_remarks",
    "nrrd_geometry",
    "nrrd_remarks",
    "with_nrrd_geometry",
]

SIDE_UNKNOWN_FIELD = (
    "side",
    "unknown",
)  # in files that medkit wrote: ITK adds the axes that it took for granted
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_ITK_AXES = "RAI"  # as MetaImage calls them: from right, anterior and inferior on
_GEOMETRY = ("space", "space directions", "space origin")
# Of the spaces of the format only these say where left is; ITK takes every other one for LPS.
_ANATOMICAL = (
    "right-anterior-superior",
    "left-anterior-superior",
    "left-posterior-superior",
    "ras",
    "las",
    "lps",
)
_CHUNK = 1 << 16


def nrrd_geometry(path: Path) -> tuple[str, ...] | None:
    """The header lines that place an NRRD volume in space, or ``None`` if they are not all there.

    ITK turns them into spacing and direction, which do not multiply to the same doubles again.

    Raises:
        CaseError: ``units-not-mm``.
    """
    fields, _ = _nrrd_fields(path)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", "")))
    if units - {"mm", ""}:
        raise CaseError(
            "units-not-mm",
            f"{path}: expected lengths in millimetres, got a header in {', '.join(sorted(units))}; "
            "scale its space directions and origin to mm",
        )
    vectors = re.findall(r"\([^)]*\)", fields.get("space directions", ""))
    if len(vectors) != 3 or any(key not in fields for key in _GEOMETRY):
        return None
    fields["space directions"] = " ".join(vectors)
    return tuple(f"{key}: {fields[key]}" for key in _GEOMETRY)


def nrrd_remarks(path: Path, geometry: tuple[str, ...] | None) -> tuple[str, ...]:
    """Remarks for the report on an NRRD header and its lines of :func:`nrrd_geometry`: none where the side is told."""
    if f"{':='.join(SIDE_UNKNOWN_FIELD)}" in _nrrd_fields(path)[0]:
        return (SIDE_UNKNOWN_NOTE,)
    if geometry is None:
        return (f"the header holds no space, directions and origin: {SIDE_UNKNOWN_NOTE}",)
    space = geometry[0].partition(": ")[2]
    if space.lower() in _ANATOMICAL:
        return ()
    return (f"the header's space is '{space}', not an anatomical one: {SIDE_UNKNOWN_NOTE}",)


def metaimage_remarks(path: Path) -> tuple[str, ...]:
    """What the report must say of a MetaImage header: nothing where it tells the side."""
    fields, _ = _metaimage_fields(path)
    key, unknown = SIDE_UNKNOWN_FIELD
    told = any(name in fields for name in _DIRECTIONS) or fields.get("AnatomicalOrientation") == _ITK_AXES
    if told and fields.get(key) != unknown:
        return ()
    return (f"the header does not say which way its axes run: {SIDE_UNKNOWN_NOTE}",)


def data_files(path: Path) -> list[Path]:
    """The files that an NRRD or MetaImage header names for its voxels; empty where they follow it.

    A numbered series stays one name, of no file.

    Raises:
        OSError: the header cannot be read.
    """
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    fields, end = _nrrd_fields(path) if nrrd else _metaimage_fields(path)
    names = [_named_data(fields)]
    if _is_list(names[0]):
        names = [line.strip() for line in path.read_bytes()[end:].decode("latin-1").split("\n")]
    return [_beside(path, name) for name in names if name]


def with_nrrd_geometry(content: bytes, lines: tuple[str, ...]) -> bytes:
    """An NRRD file, given as bytes, with other lines from :func:`nrrd_geometry`."""
    head, gap, voxels = content.partition(b"\n\n")
    ours = {line.partition(":")[0].encode(): line.encode("latin-1") for line in lines}
    theirs = head.split(b"\n")
    for number, line in enumerate(theirs):
        new = ours.get(line.partition(b":")[0], line)
        # An axis of channels comes first and has no direction.
        theirs[number] = new.replace(b": (", b": none (") if b": none (" in line else new
    return b"\n".join(theirs) + gap + voxels


def check_nrrd_stream(path: Path) -> None:
    """Like :func:`check_metaimage_stream`, for NRRD."""
    fields, start = _nrrd_fields(path)
    if fields.get("encoding", "").lower() in ("gzip", "gz") and "line skip" not in fields:
        _check_stream(path, _named_data(fields), start)


def check_metaimage_axes(path: Path) -> None:
    """Check the number of axes before ITK does: of a wrong one it dies, and the process with it.

    Raises:
        CaseError: ``not-3d``.
    """
    axes = _metaimage_fields(path)[0].get("NDims")
    if axes != "3":
        raise CaseError(
            "not-3d",
            f"{path}: expected a 3D image, got NDims = {axes} in its header; write one volume a file",
        )


def check_metaimage_units(path: Path) -> None:
    """Check the unit of length, which ITK takes for millimetres whatever it is.

    Raises:
        CaseError: ``units-not-mm``.
    """
    units = _metaimage_fields(path)[0].get("DistanceUnits", "?")
    if units.lower() not in ("mm", "?", ""):
        raise CaseError(
            "units-not-mm",
            f"{path}: expected lengths in millimetres, got DistanceUnits = {units} in its header; "
            "scale its ElementSpacing and Offset to mm",
        )


def check_metaimage_stream(path: Path) -> None:
    """Decompress the voxels once for their checksum alone: ITK reads on past a wrong one.

    Raises:
        ValueError: the voxels end early.
        zlib.error: the voxels are damaged.
    """
    fields, start = _metaimage_fields(path)
    if fields.get("CompressedData", "").lower() == "true":
        _check_stream(path, _named_data(fields), start)


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and where it ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields and (line := file.readline(_CHUNK)):
            key, *value = re.split("[=:]", line.decode("latin-1"), maxsplit=1)
            fields[key.strip()] = "".join(value).strip()
        return fields, file.tell()


def _nrrd_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and where the voxels begin, or a list of the files that hold them."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while not _is_list(_named_data(fields)) and (line := file.readline(_CHUNK)).strip():
            key, _, value = line.decode("latin-1").strip().partition(": ")
            fields[key.lower()] = value.lstrip()
        return fields, file.tell()


def _named_data(fields: dict[str, str]) -> str:
    """What a header of either kind says about where its voxels are; empty if they follow it."""
    named = next((fields[key] for key in ("data file", "datafile", "ElementDataFile") if key in fields), "")
    return "" if named.upper() == "LOCAL" else named


def _is_list(named: str) -> bool:
    return named.upper().split()[:1] == ["LIST"]


def _beside(header: Path, name: str) -> Path:
    return header.parent / os.fsdecode(name.encode("latin-1"))


def _check_stream(header: Path, named: str, start: int) -> None:
    path = _beside(header, named) if named else header
    if not path.is_file():
        return  # a list or pattern of files, or one that is missing: ITK will say so
    stream = zlib.decompressobj(wbits=47)
    with path.open("rb") as file:
        file.seek(0 if named else start)
        while not stream.eof and (chunk := file.read(_CHUNK)):
            stream.decompress(chunk)
    if not stream.eof:
        raise ValueError("its compressed voxels end early")
