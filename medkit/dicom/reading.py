"""Read a folder, a zip or a list of DICOM files: every series becomes volumes, or is refused with a reason."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from medkit.dicom.counts import check_counts
from medkit.dicom.enhanced import dose_planes, enhanced_planes, is_dose, is_enhanced
from medkit.dicom.facts import told_by_files
from medkit.dicom.findings import Finding, Refused, Repair, counted
from medkit.dicom.format import pixel_format
from medkit.dicom.geometry import check_placed
from medkit.dicom.grouping import settings_alike, split
from medkit.dicom.instance import Instance
from medkit.dicom.limits import Limits
from medkit.dicom.naming import shown_keys, volume_name
from medkit.dicom.opening import Broken, check_neighbours, folder_of, open_file, without_strangers
from medkit.dicom.picks import Picks
from medkit.dicom.pixels import pixels_signed, stored_frames
from medkit.dicom.planes import Plane, classic_planes
from medkit.dicom.result import Reading, SeriesReading, SeriesVolume, Told
from medkit.dicom.sources import find_sources
from medkit.dicom.strays import note_left_out
from medkit.dicom.volume import ContentDigests, make_volumes
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from medkit.dicom.group import Group
    from medkit.dicom.sources import SourceFile

__all__ = ["read", "read_each"]

_Taken = TypeVar("_Taken")

_THREADS = 4
_SMALL_BYTES = 2**20  # of which several threads take more time than one: they wait for each other
_REPAIRS = {repair.value: repair for repair in Repair}
# Refusals of one object that leave the other objects of its series what they are.
_REFUSED_APART = {"colour", "secondary-capture"}
_APART = {*_REFUSED_APART, "not-an-image"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_STANDARD_CLASSES = "1.2.840.10008."
# What a picture of nothing is called: presentation states, reports, structure sets, segmentations, raw data.
_NO_IMAGES = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2$|11\.|88\.|66(\.|$)|104\.|481\.[34589]|67|68|9\.)"
)


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
    limits = limits or Limits()
    held = 0

    def kept(series: SeriesReading) -> SeriesReading:
        nonlocal held
        size = sum(volume.array.nbytes for volume in series.volumes)
        if held + size > limits.held_bytes:
            text = (
                f"expected volumes of at most {limits.held_bytes} bytes in one reading, got more; pick series, convert, "
                "or raise the limit"
            )
            return replace(series, volumes=(), refusals=(*series.refusals, Finding("too-large", text)))
        held += size
        return series

    series, refusals = read_each(source, kept, repairs=repairs, picks=picks, expected=expected, limits=limits)
    return Reading(series, refusals)


def read_each(
    source: Path | Sequence[Path],
    take: Callable[[SeriesReading], _Taken],
    *,
    repairs: Collection[Repair | str] = (),
    picks: Mapping[str, str] | None = None,
    expected: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> tuple[tuple[_Taken, ...], tuple[Finding, ...]]:
    """Read the series of a source one after another, and keep of each what is taken.

    Args:
        source: see :func:`read`.
        take: gets each series as soon as it is read; it may let its voxels go.
        repairs: see :func:`read`.
        picks: see :func:`read`.
        expected: see :func:`read`.
        limits: see :func:`read`.

    Returns:
        What was taken of each series, and the refusals of files that belong to none.
    """
    picked = Picks(picks or {})
    with ExitStack() as stack:
        known, limits = _known_repairs(repairs), limits or Limits()
        files, refusals = find_sources(source, limits, stack)
        pool = stack.enter_context(ThreadPoolExecutor(_threads(files)))
        wish = _Wish(known, picked, dict(expected or {}), limits, pool)
        opened = list(pool.map(lambda file: open_file(file, limits), files))
        instances, strangers = without_strangers(found for found in opened if isinstance(found, Instance))
        broken = [found for found in opened if isinstance(found, Broken) and not found.unheard] + strangers
        series = _by_series(instances)
        names: set[str] = set()
        taken = []
        for uid, found in series:
            reading = _read_series(uid, found, wish, broken, names)
            if reading is not None:
                taken.append(take(reading))
            del reading  # or it would be held while the next is read
    refusals += [found.finding for found in broken]
    for uid in sorted(wish.expected.keys() - {uid for uid, _ in series}):
        text = f"series {uid}: expected {wish.expected[uid]} images, got none; fetch it"
        refusals.append(Finding("count-mismatch", text))
    picked.check_used()
    return tuple(taken), tuple(refusals)


def _threads(files: Sequence[SourceFile]) -> int:
    small = sum(file.size for file in files) < _SMALL_BYTES
    return 1 if small else min(_THREADS, os.cpu_count() or 1)


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


def _known_repairs(repairs: Collection[Repair | str]) -> frozenset[Repair]:
    for repair in repairs:
        if str(repair) not in _REPAIRS:
            near = get_close_matches(str(repair), _REPAIRS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"expected a repair of {', '.join(_REPAIRS)}, got {str(repair)!r}{hint}")
    return frozenset(_REPAIRS[str(repair)] for repair in repairs)


def _by_series(instances: Iterable[Instance]) -> list[tuple[str, list[Instance]]]:
    """Files that name no series, as de-identifiers leave them, go by their folder."""
    found: dict[tuple[str, ...], list[Instance]] = {}
    for instance in instances:
        uid = instance.elements.text("SeriesInstanceUID")
        found.setdefault((uid,) if uid else ("", *folder_of(instance.source)), []).append(instance)
    return sorted(
        ((key[0], instances) for key, instances in found.items()),
        key=lambda item: (item[1][0].series_number or 0, item[0], item[1][0].source.shown),
    )


@dataclass
class _Found:
    """What is known of a series so far, should the rest of it be refused."""

    refusals: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    volumes: list[SeriesVolume] = field(default_factory=list)

    def refuse(self, finding: Finding) -> None:
        """Take nothing of it."""
        self.refusals.append(finding)
        self.volumes = []


def _read_series(
    uid: str, instances: list[Instance], wish: _Wish, broken: Sequence[Broken], names: set[str]
) -> SeriesReading | None:
    first = instances[0]
    if not wish.picks.takes_series(uid, first.series_number):
        return None
    found = _Found()
    try:
        if not _read_volumes(uid, instances, wish, broken, names, found):
            return None
    except Refused as refused:
        found.refuse(refused.finding)
    except Exception as error:  # a fault of ours or of a decoder must not end the others, nor pass as read
        text = f"{first.source.shown}: {type(error).__name__}: {error}; please report this"
        found.refuse(Finding("unreadable", text))
    kept = tuple(volume for volume in found.volumes if wish.picks.takes_volume(volume.name))
    if not found.volumes:
        wish.picks.refused += [refusal.message for refusal in found.refusals]
    if wish.picks.names_volume:
        if not kept:
            return None
        found.refusals = []  # of what stands beside the volume
    return SeriesReading(
        uid,
        first.modality,
        first.series_number,
        kept,
        tuple(found.refusals),
        tuple(found.notes),
        len(instances),
        frozenset(instance.sop_class_uid for instance in instances),
        told_by_files(instances) if found.refusals else Told(),
    )


def _read_volumes(
    uid: str,
    instances: list[Instance],
    wish: _Wish,
    broken: Sequence[Broken],
    names: set[str],
    found: _Found,
) -> bool:
    """Find the volumes of a series; whether something of it was asked for.

    Raises:
        Refused: nothing of the series is to be taken.
    """
    _check_one_patient(instances)
    if not uid:
        text = "no SeriesInstanceUID: the files of this folder are taken for a series"
        found.notes.append(Finding("no-series-uid", text))
    asked = check_neighbours(instances, broken, wish.repairs)
    planes, left_out = _planes(instances, wish)
    found.refusals += [finding for finding in left_out if finding.code in _REFUSED_APART]
    found.notes += [finding for finding in left_out if finding.code == "not-an-image"]
    asked += [finding for finding in left_out if finding.code == Repair.DROP_BROKEN]
    asked += _signed_on_request(planes)
    planes = settings_alike(planes)
    taken = wish.picks.take_planes(planes)
    if wish.picks.frame_keys and not taken:
        return False
    asked += check_counts(instances, planes, wish.expected.get(uid), wish.repairs)
    if taken:
        named = wish.picks.named_by(planes, taken)
        groups = split(taken, ContentDigests(), wish.repairs, wish.limits)
        note_left_out(groups, planes, taken)
        found.notes += _unequal(groups)
        for group, keys in zip(groups, shown_keys([named | group.keys for group in groups]), strict=True):
            group.repairs[:0] = asked
            group.keys = keys
            name = volume_name(instances[0].series_number, keys, names)
            names.add(name.lower())
            found.volumes += make_volumes(group, name, wish.repairs, wish.limits, wish.pool)
    return True


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


def _planes(instances: list[Instance], wish: _Wish) -> tuple[list[Plane], list[Finding]]:
    """The frames of all images of a series, and what was left out: other objects, and broken ones on request."""
    drop = Repair.DROP_BROKEN in wish.repairs
    planes: list[Plane] = []
    left_out: list[Finding] = []
    pictures = {instance.sop_class_uid for instance in instances if instance.pixels is not None}

    def opened(instance: Instance) -> list[Plane] | Refused:
        try:
            found = _planes_of(instance, wish, pictures)
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


def _signed_on_request(planes: Sequence[Plane]) -> list[Finding]:
    lying = {
        plane.where
        for plane in planes
        if plane.format.signed
        and plane.format.floating is None
        and plane.instance.elements.integer("PixelRepresentation") == 0
    }
    if not lying:
        return []
    said = f"{counted(len(lying), 'frame is', 'frames are')} read as signed, as the pixels say and not the header"
    return [Finding(Repair.SIGN_OF_STREAM, f"{said}, as was asked for")]


def _planes_of(instance: Instance, wish: _Wish, pictures: Collection[str]) -> list[Plane]:
    kind = instance.sop_class_uid
    if _NO_IMAGES.match(kind) or _is_private_data(instance, pictures):
        raise Refused(
            "not-an-image",
            f"{instance.source.shown}: {instance.modality or 'an object'} without an image; left out",
        )
    found = pixel_format(instance, wish.limits)
    if Repair.SIGN_OF_STREAM in wish.repairs and pixels_signed(instance):
        found = replace(found, signed=True)
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


def _is_private_data(instance: Instance, pictures: Collection[str]) -> bool:
    """Whether it is a vendor's own kind of object, and no picture, so that nothing of it was cut off."""
    kind = instance.sop_class_uid
    empty = instance.pixels is None and "Rows" not in instance.elements
    return empty and bool(kind) and not kind.startswith(_STANDARD_CLASSES) and kind not in pictures


def _unequal(groups: Sequence[Group]) -> list[Finding]:
    counts = sorted({len(group.planes) for group in groups})
    if len(counts) < 2:
        return []
    shown = ", ".join(map(str, counts))
    return [
        Finding("unequal-slices", f"the volumes of this series have different numbers of slices: {shown}")
    ]
