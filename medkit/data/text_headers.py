"""What ITK neither keeps nor checks of NRRD and MetaImage files, read from their text headers."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from medkit.errors import CaseError

__all__ = [
    "check_metaimage_axes",
    "check_metaimage_stream",
    "check_nrrd_stream",
    "nrrd_geometry",
    "with_nrrd_geometry",
]

_GEOMETRY = ("space", "space directions", "space origin")
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
    if fields.get("encoding", "").lower() not in ("gzip", "gz") or "line skip" in fields:
        return
    detached = fields.get("data file", fields.get("datafile"))
    _check_stream(path.parent / detached if detached else path, 0 if detached else start)


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


def check_metaimage_stream(path: Path) -> None:
    """Decompress the voxels once for their checksum alone: ITK reads on past a wrong one.

    Raises:
        ValueError: the voxels end early.
        zlib.error: the voxels are damaged.
    """
    fields, start = _metaimage_fields(path)
    if fields.get("CompressedData", "").lower() == "true":
        where = fields.get("ElementDataFile", "")
        local = where.upper() == "LOCAL"
        _check_stream(path if local else path.parent / where, start if local else 0)


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and where it ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields and (line := file.readline(_CHUNK)):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
        return fields, file.tell()


def _nrrd_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and where it ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while (line := file.readline(_CHUNK)).strip():
            key, _, value = line.decode("latin-1").strip().partition(": ")
            fields[key.lower()] = value
        return fields, file.tell()


def _check_stream(path: Path, start: int) -> None:
    if not path.is_file():
        return  # a list or pattern of files, or one that is missing: ITK will say so
    stream = zlib.decompressobj(wbits=47)
    with path.open("rb") as file:
        file.seek(start)
        while not stream.eof and (chunk := file.read(_CHUNK)):
            stream.decompress(chunk)
    if not stream.eof:
        raise ValueError("its compressed voxels end early")
