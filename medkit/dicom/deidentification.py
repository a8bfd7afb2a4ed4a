"""Write the objects of a folder anew, without their patients. What may show words in its pixels is refused."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medkit import __version__
from medkit.data.writing import UNFINISHED, make_folder, replacing, write_text
from medkit.dicom.confidentiality import Deidentifier, edition
from medkit.dicom.findings import Finding, Refused
from medkit.dicom.instance import Instance, inflated
from medkit.dicom.kept_words import is_known_uid
from medkit.dicom.limits import Limits
from medkit.dicom.opening import open_file
from medkit.dicom.pixel_leftovers import blank_leftovers, clear_unused_bits
from medkit.dicom.sources import find_sources
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RECORD", "Deidentification", "check_deidentifiable", "clean_elements", "deidentify"]

RECORD = "deidentification.json"
_MARK = b"DICM"
_CLASSES = "1.2.840.10008.5.1.4.1.1."
# Reports and key objects, documents, presentation states, waveforms (a voice among them).
_TEXTS = ("88.", "104.", "11.", "9.")
_RAW = "66."  # of a vendor, in whatever form
# Secondary captures, ultrasound, photographs and films: pictures that people, or machines, often write into.
_PICTURES = ("7.", "6.", "3.", "77.")
# What scanners call pictures of their screens, as values of ImageType and as descriptions.
_SCREENS = re.compile(
    r"(^|[ _])(PROT|PROTOCOL|SAVE|SCREEN|SCREENSHOT|CAPTURE|REPORT|DOSE_INFO|DOSE INFO)($|[ _])"
)
_SCREENS_CALLED = re.compile(r"SCREEN ?S|(PATIENT|EXAM)[ _]PROT|DOSE[ _](REPORT|INFO|SUMMARY|RECORD)")
# Of files that do not say it: whether value representations are implicit, and bytes little-endian.
_NATIVE = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


@dataclass(frozen=True)
class Deidentification:
    """What became of the files.

    Args:
        written: number of objects.
        refusals: why files were left out; their messages name them, and so may name patients.
    """

    written: int
    refusals: tuple[Finding, ...]


def deidentify(
    source: Path | Sequence[Path],
    output: Path,
    deidentifier: Deidentifier,
    *,
    limits: Limits | None = None,
) -> Deidentification:
    """Write the DICOM objects of a source without their patients, ``deidentification.json`` last.

    Files go to ``PSEUDONYM/STUDY/SERIES/INSTANCE.dcm``, all by their new names. The record has no name of a source.

    Args:
        source: a folder (with all below it), a zip, a file, or a list of these.
        output: folder, empty or not there.
        deidentifier: what is done to each.
        limits: of sizes.

    Raises:
        UsageError: nothing there, or the folder holds something.
    """
    output, limits = Path(output), limits or Limits()
    if output.exists() and (not output.is_dir() or any(not _unfinished(path) for path in output.iterdir())):
        raise UsageError(f"{output}: expected an empty folder, or none, got one with files; choose another")
    written: set[Path] = set()
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks, which show values
        files, refusals = find_sources(source, limits, stack)
        for file in files:
            opened = open_file(file, limits)
            if not isinstance(opened, Instance):
                refusals += [] if opened.unheard else [opened.finding]
                continue
            try:
                written.add(_write(opened, output, written, deidentifier, limits))
            except Refused as refused:
                refusals.append(refused.finding)
    make_folder(output)
    write_text(output / RECORD, json.dumps(_record(len(written), refusals, deidentifier), indent=2) + "\n")
    return Deidentification(len(written), tuple(refusals))


def clean_elements(dataset: Dataset, where: str, deidentifier: Deidentifier) -> None:
    """De-identify the elements of an object in place, all but its pixels.

    Args:
        dataset: as it came.
        where: how messages call it.
        deidentifier: what is done to it.

    Raises:
        Refused: ``broken-elements``, or what :func:`check_deidentifiable` finds.
    """
    check_deidentifiable(dataset, where)
    try:
        deidentifier.clean(dataset)
    except Exception as error:  # what pydicom meets in broken elements; its words may show them
        raise _broken(where, error) from error


def check_deidentifiable(dataset: Dataset, where: str) -> None:
    """Check that no words can be read in an object but those of its elements.

    Args:
        dataset: as it came.
        where: how messages call it.

    Raises:
        Refused: ``burned-in``, its pixels hold words, or may and it does not say that they do not; ``words-alone``, a
            report, document, presentation state, waveform or raw data; ``no-class``, nobody knows what it is.
    """
    kind = str(dataset.get("SOPClassUID") or "")
    if not kind.startswith(_CLASSES) or not is_known_uid(kind) or not dataset.get("SOPInstanceUID"):
        raise Refused(
            "no-class",
            f"{where}: expected an object of a kind that the standard knows, got another; leave it out",
        )
    ending = f"{kind.removeprefix(_CLASSES)}."
    if ending.startswith(_TEXTS) or ending == _RAW:
        raise Refused(
            "words-alone",
            f"{where}: expected an image, got a report, a document, annotations, a waveform or raw data, whose words "
            "may be about a person; leave it out",
        )
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    hidden = _has_overlay_in_pixels(dataset)
    if said == "NO" and not hidden:
        return
    if said == "YES" or hidden or _may_show_words(dataset, kind):
        got = "one with words in its pixels" if said == "YES" else "one that may have words in its pixels"
        raise Refused(
            "burned-in",
            f"{where}: expected an image without words in it, got {got}; look at it, and set BurnedInAnnotation to NO "
            "where there are none",
        )


def _may_show_words(dataset: Dataset, kind: str) -> bool:
    screen = _SCREENS_CALLED.search(str(dataset.get("SeriesDescription") or "").upper()) or any(
        _SCREENS.search(str(word).strip().upper()) for word in _several(dataset.get("ImageType"))
    )
    picture = f"{kind.removeprefix(_CLASSES)}.".startswith(_PICTURES)
    colour = int(dataset.get("SamplesPerPixel") or 1) > 1
    return picture or colour or bool(dataset.get("ConversionType") or screen)


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or ())


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Overlays once lay in unused bits of the pixels. From native ones they are cleared, from compressed ones not."""
    groups = range(0x6000, 0x6100, 2)
    return (
        "PixelData" in dataset
        and bool(dataset["PixelData"].is_undefined_length)
        and any(
            (group << 16 | 0x0010) in dataset and (group << 16 | 0x3000) not in dataset for group in groups
        )
    )


def _write(
    instance: Instance, output: Path, written: set[Path], deidentifier: Deidentifier, limits: Limits
) -> Path:
    where = instance.source.shown
    dataset = _whole(instance, limits)
    # Some files name their class and themselves in the preamble's group alone.
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = instance.sop_instance_uid
    clean_elements(dataset, where, deidentifier)
    try:
        _clean_pixels(dataset, instance)
        encoded = _encoded(dataset, instance)
    except Refused:
        raise
    except Exception as error:  # what pydicom meets in broken elements; its words may show them
        raise _broken(where, error) from error
    path = output / str(dataset.PatientID) / _uid(dataset, "StudyInstanceUID")
    path = path / _uid(dataset, "SeriesInstanceUID") / f"{dataset.SOPInstanceUID}.dcm"
    if path in written:
        raise Refused(
            "duplicate", f"{where}: expected one object of each UID, got another; remove one of the two"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def _encoded(dataset: Dataset, instance: Instance) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = instance.transfer_syntax or _NATIVE[instance.implicit_vr, instance.little_endian]
    dataset.file_meta, dataset.preamble = meta, bytes(128)
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _whole(instance: Instance, limits: Limits) -> Dataset:
    where = instance.source.shown
    try:
        with instance.source.open() as file:
            if instance.deflated is not None:  # pydicom inflates without a bound
                if len(inflated(instance, file, limits.series_bytes + 1)) > limits.series_bytes:
                    text = f"{where}: expected at most {limits.series_bytes} bytes, got more; raise the limit"
                    raise Refused("too-large", text)
                file.seek(0)
            start = file.read(len(_MARK))
            if start == _MARK:  # the preamble alone is missing
                return dcmread(io.BytesIO(bytes(128) + start + file.read()), force=True)
            file.seek(0)
            return dcmread(file, force=True)
    except Refused:
        raise
    except Exception as error:
        raise _broken(where, error) from error


def _broken(where: str, error: Exception) -> Refused:
    return Refused(
        "broken-elements",
        f"{where}: expected elements that can be read and written, got {type(error).__name__}; export it again",
    )


def _clean_pixels(dataset: Dataset, instance: Instance) -> None:
    """Leave pixels alone in pixel data.

    Raises:
        Refused: ``excess-pixels`` or ``undecodable``, there is something else in it.
    """
    element, where = instance.pixels, instance.source.shown
    if element is None:
        return
    if element.length is not None:
        expected = get_expected_length(dataset)
        if element.length > expected + expected % 2:
            text = f"{where}: expected {expected} bytes of pixels, got {element.length}; export it again"
            raise Refused("excess-pixels", text)
        if element.keyword == "PixelData":
            clear_unused_bits(dataset)
        return
    try:
        pixels = int(dataset.Rows) * int(dataset.Columns)
        dataset[element.keyword].value = blank_leftovers(dataset.PixelData, instance.frames, pixels)
    except ValueError as error:
        raise Refused(
            "undecodable",
            f"{where}: expected JPEG, JPEG-LS, JPEG 2000 or run lengths, whole, got {error}; convert it "
            "(dcmdjpeg, gdcmconv)",
        ) from error


def _uid(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name) or "none")


def _unfinished(path: Path) -> bool:
    """What a call that was killed left."""
    return path.name.startswith(UNFINISHED)


def _record(written: int, refusals: Sequence[Finding], deidentifier: Deidentifier) -> dict[str, Any]:
    return {
        "medkit": __version__,
        "profile": edition(),
        "shift_dates": deidentifier.shift_dates,
        "keep_diffusion": deidentifier.keep_diffusion,
        "written": written,
        "refused": dict(sorted(Counter(str(finding.code) for finding in refusals).items())),
    }
