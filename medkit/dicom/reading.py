"""Read a folder, a zip or a list of DICOM files: every series becomes volumes, or is refused with a reason."""

from __future__ import annotations

import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from medkit.dicom.counts import check_counts
from medkit.dicom.enhanced import dose_planes, enhanced_planes, is_dose, is_enhanced
from medkit.dicom.findings import Finding, Refused, Repair
from medkit.dicom.format import pixel_format
from medkit.dicom.geometry import check_placed
from medkit.dicom.grouping import split
from medkit.dicom.instance import Instance, read_instance
from medkit.dicom.limits import Limits
from medkit.dicom.picks import Picks
from medkit.dicom.pixels import stored_frames
from medkit.dicom.planes import Plane, classic_planes
from medkit.dicom.result import Reading, SeriesReading, SeriesVolume
from medkit.dicom.sources import Source, find_sources
from medkit.dicom.volume import content_digest, make_volumes
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["read"]

_THREADS = 4
_NAME_LENGTH, _PART_LENGTH = 120, 40
# That tell volumes apart, and are UIDs.
_LONG_KEYS = {"class", "frame-of-reference"}
_REPAIRS = {repair.value: repair for repair in Repair}
# Refusals of one object that leave the other objects of its series what they are.
_REFUSED_APART = {"colour", "secondary-capture"}
_APART = {*_REFUSED_APART, "not-an-image"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# What a picture of nothing is called: presentation states, reports, structure sets, segmentations.
_NO_IMAGES = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2$|11\.|88\.|66\.|104\.|481\.[34589]|67|68|9\.)"
)
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima", ".img"}


def read(
    source: Path | Sequence[Path],
    *,
    repairs: Collection[Repair | str] = (),
    picks: Mapping[str, str] | None = None,
    expected: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> Reading:
    """Read all series of a source.

    A series with several volumes (phases, b-values, echoes, directions) gives all of them, each whole and named by what
    tells it apart. A series of which a part cannot be read rightly gives none.

    Args:
        source: a folder (with all below it), a zip, a file, or a list of these.
        repairs: see :class:`medkit.dicom.Repair`; none is done that is not asked for.
        picks: what to read of it, by key: ``series`` (number or UID), ``volume`` (a name), or what tells volumes apart
            (``b-value``, ``echo-time``, ``acquisition`` ...).
        expected: number of instances of each series by UID, as an archive says it.
        limits: of sizes; those of :class:`medkit.dicom.Limits` by default.

    Raises:
        UsageError: nothing there, an unknown repair, or a pick that nothing has.
    """
    picked = Picks(picks or {})
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on what is checked here
        pool = stack.enter_context(ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)))
        wish = _Wish(_known_repairs(repairs), picked, dict(expected or {}), limits or Limits(), pool)
        files, refusals = find_sources(source, wish.limits, stack)
        opened = list(pool.map(lambda file: _opened(file, wish.limits), files))
        broken = [found for found in opened if isinstance(found, _Broken)]
        series = _by_series(found for found in opened if isinstance(found, Instance))
        names: set[str] = set()
        readings = [_read_series(uid, found, wish, broken, names) for uid, found in series]
    refusals += [found.finding for found in broken]
    for uid in sorted(wish.expected.keys() - {uid for uid, _ in series}):
        text = f"series {uid}: expected {wish.expected[uid]} images, got none; fetch it"
        refusals.append(Finding("count-mismatch", text))
    picked.check_used()
    return Reading(tuple(found for found in readings if found is not None), tuple(refusals))


@dataclass(frozen=True)
class _Wish:
    """What was asked for, and the means."""

    repairs: frozenset[Repair]
    picks: Picks
    expected: dict[str, int]
    limits: Limits
    pool: ThreadPoolExecutor


_IDENTITY = {
    "PatientID": "mixed-patient",
    "PatientName": "mixed-patient",
    "PatientBirthDate": "mixed-patient",
    "PatientSex": "mixed-patient",
    "StudyInstanceUID": "mixed-study",
}


class _Broken:
    """A file that could not be read, and whether it looks as if it belonged to the series beside it."""

    def __init__(self, source: Source, finding: Finding) -> None:
        self.source, self.finding = source, finding
        named = Path(source.member or source.path.name).suffix.lower() in _DICOM_SUFFIXES
        self.suspicious = finding.code not in ("not-dicom",) and (named or finding.code != "empty-file")

    @property
    def folder(self) -> tuple[str, str]:
        return _folder(self.source)


def _folder(source: Source) -> tuple[str, str]:
    if source.member is None:
        return str(source.path.parent), ""
    return str(source.path), str(Path(source.member).parent)


def _known_repairs(repairs: Collection[Repair | str]) -> frozenset[Repair]:
    for repair in repairs:
        if str(repair) not in _REPAIRS:
            near = get_close_matches(str(repair), _REPAIRS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"expected a repair of {', '.join(_REPAIRS)}, got {str(repair)!r}{hint}")
    return frozenset(_REPAIRS[str(repair)] for repair in repairs)


def _opened(file: Source, limits: Limits) -> Instance | _Broken:
    try:
        return read_instance(file, limits)
    except Refused as refused:
        return _Broken(file, refused.finding)
    except Exception as error:  # a zip's checksum, a disk, a password
        return _Broken(
            file,
            Finding(
                "truncated", f"{file.shown}: expected a file that can be read, got {error}; copy it again"
            ),
        )


def _by_series(instances: Iterable[Instance]) -> list[tuple[str, list[Instance]]]:
    """Files that name no series, as de-identifiers leave them, go by their folder."""
    found: dict[tuple[str, ...], list[Instance]] = {}
    for instance in instances:
        uid = instance.elements.text("SeriesInstanceUID")
        found.setdefault((uid,) if uid else ("", *_folder(instance.source)), []).append(instance)
    return sorted(
        ((key[0], instances) for key, instances in found.items()),
        key=lambda item: (_number(item[1][0]) or 0, item[0], item[1][0].source.shown),
    )


def _number(instance: Instance) -> int | None:
    text = instance.elements.text("SeriesNumber")
    return int(text) if text.lstrip("-").isdigit() else None


def _read_series(
    uid: str, instances: list[Instance], wish: _Wish, broken: Sequence[_Broken], names: set[str]
) -> SeriesReading | None:
    first = instances[0]
    if not wish.picks.takes_series(uid, _number(first)):
        return None
    refusals: list[Finding] = []
    notes: list[Finding] = []
    volumes: list[SeriesVolume] = []
    try:
        _check_one_patient(instances)
        if not uid:
            notes.append(
                Finding(
                    "no-series-uid", "no SeriesInstanceUID: the files of this folder are taken for a series"
                )
            )
        asked = _check_neighbours(instances, broken, wish.repairs)
        planes, left_out = _planes(instances, wish)
        refusals += [finding for finding in left_out if finding.code in _REFUSED_APART]
        notes += [finding for finding in left_out if finding.code == "not-an-image"]
        asked += [finding for finding in left_out if finding.code == Repair.DROP_BROKEN]
        taken = wish.picks.take_planes(planes)
        if wish.picks.frame_keys and not taken:
            return None
        asked += check_counts(instances, planes, wish.expected.get(uid), wish.repairs)
        if taken:
            named = wish.picks.named_by(planes, taken)
            groups = split(taken, content_digest, wish.repairs)
            notes += _unequal(groups)
            for group in groups:
                group.repairs[:0] = asked
                volumes += make_volumes(
                    group, _name(first, named | group.keys, names), wish.repairs, wish.limits, wish.pool
                )
    except Refused as refused:
        refusals.append(refused.finding)
        volumes = []
    except Exception as error:  # a fault of ours or of a decoder must not end the others, nor pass as read
        refusals.append(
            Finding(
                "unreadable", f"{first.source.shown}: {type(error).__name__}: {error}; please report this"
            )
        )
        volumes = []
    kept = tuple(volume for volume in volumes if wish.picks.takes_volume(volume.name))
    if not volumes:
        wish.picks.refused += [refusal.message for refusal in refusals]
    if wish.picks.names_volume:
        if not kept:
            return None
        refusals = []  # of what stands beside the volume
    return SeriesReading(
        uid, first.modality, _number(first), kept, tuple(refusals), tuple(notes), len(instances)
    )


def _check_one_patient(instances: list[Instance]) -> None:
    for name, code in _IDENTITY.items():
        found: dict[object, Instance] = {
            instance.elements.raw(name).strip(b" \0"): instance for instance in instances
        }
        if len(found) > 1 and name == "PatientName":
            found = {instance.elements.person_name(name): instance for instance in found.values()}
        if len(found) > 1:
            one, other = list(found.values())[:2]
            raise Refused(
                code,
                f"{other.source.shown}: expected the {name} of {one.source.shown} in one series, got another; "
                "find out whose images these are",
            )


def _check_neighbours(
    instances: list[Instance], broken: Sequence[_Broken], repairs: frozenset[Repair]
) -> list[Finding]:
    """Refuse a series beside whose files there is a broken one that may be its own."""
    folders = {_folder(instance.source) for instance in instances}
    beside = [found for found in broken if found.suspicious and found.folder in folders]
    if not beside:
        return []
    message = (
        f"{beside[0].source.shown}: expected whole files beside those of a series, got {len(beside)} broken"
    )
    if Repair.DROP_BROKEN in repairs:
        return [Finding(Repair.DROP_BROKEN, f"{message}, left out as was asked for")]
    raise Refused(
        "broken-file",
        f"{message}, which may be slices of it; copy them again or ask for the repair drop-broken",
    )


def _planes(instances: list[Instance], wish: _Wish) -> tuple[list[Plane], list[Finding]]:
    """The frames of all images of a series, and what was left out: other objects, and broken ones on request."""
    drop = Repair.DROP_BROKEN in wish.repairs
    planes: list[Plane] = []
    left_out: list[Finding] = []

    def opened(instance: Instance) -> list[Plane] | Refused:
        try:
            found = _planes_of(instance, wish.limits)
            if drop:  # by decoding it, since only that tells whether it can be
                all(True for _ in stored_frames(instance, found[0].format, [plane.number for plane in found]))
        except Refused as refused:
            return refused
        return found

    for found in wish.pool.map(opened, instances):
        if not isinstance(found, Refused):
            planes += found
        elif found.finding.code in _APART:
            left_out.append(found.finding)
        elif drop:
            left_out.append(Finding(Repair.DROP_BROKEN, f"{found}; left out as was asked for"))
        else:
            raise found
    if not planes and drop and left_out and not any(finding.code in _APART for finding in left_out):
        raise Refused(
            "broken-file", f"expected some images that can be read, got none: {left_out[0].message}"
        )
    return planes, left_out


def _planes_of(instance: Instance, limits: Limits) -> list[Plane]:
    kind = instance.elements.text("SOPClassUID")
    if _NO_IMAGES.match(kind):
        raise Refused(
            "not-an-image",
            f"{instance.source.shown}: {instance.modality or 'an object'} without an image; left out",
        )
    found = pixel_format(instance, limits)
    if (
        kind.startswith(_SECONDARY_CAPTURE)
        and not is_enhanced(instance)
        and "ImagePositionPatient" not in instance.elements
    ):
        raise Refused(
            "secondary-capture",
            f"{instance.source.shown}: expected an image with a place, got a secondary capture; left out",
        )
    if is_enhanced(instance):
        planes = enhanced_planes(instance, found)
    else:
        planes = dose_planes(instance, found) if is_dose(instance) else classic_planes(instance, found)
    for plane in planes:
        check_placed(plane)
    return planes


def _unequal(groups: Sequence[object]) -> list[Finding]:
    counts = sorted({len(group.planes) for group in groups})  # type: ignore[attr-defined]
    if len(counts) < 2:
        return []
    shown = ", ".join(map(str, counts))
    return [
        Finding("unequal-slices", f"the volumes of this series have different numbers of slices: {shown}")
    ]


def _name(instance: Instance, keys: Mapping[str, str], names: set[str]) -> str:
    """A name that no other volume of the reading has."""
    number = _number(instance)
    parts = ["series" if number is None else f"{number:03d}"]
    parts += [f"{key}-{value}" for key, value in keys.items() if key not in _LONG_KEYS]
    name = "_".join(_safe(part) for part in parts)[:_NAME_LENGTH]
    unique, count = name, 1
    while unique.lower() in names:
        count += 1
        unique = f"{name}_{count}"
    names.add(unique.lower())
    return unique


def _safe(part: str) -> str:
    """Letters, digits and a few signs, which every file system takes; underscores part the parts."""
    return re.sub(r"[^A-Za-z0-9.+-]+|\.{2,}", "-", part).strip("-.")[:_PART_LENGTH]
