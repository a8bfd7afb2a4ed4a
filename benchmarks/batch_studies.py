"""The studies of ``batch.py``: small MR series, each a study of its own, and ways in which a study may be broken."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from monai_deploy import images

from medkit.batch.ledger import State
from tests.batch.service.steps import DEADLY, SLOW
from tests.batch.service.studies import give_number, study_hash, write_numbered
from tests.dicom.writing.sources import write_series

SMALL = (20, 18, 14)


@dataclass(frozen=True)
class Sample:
    """A study that is sent.

    Args:
        number: in its UIDs.
        folder: of its files, in the order of their names.
        way: in which it is broken; empty for a good one.
    """

    number: int
    folder: Path
    way: str = ""

    @property
    def study(self) -> str:
        """Its hash, as the ledger knows it."""
        return study_hash(self.number)

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@dataclass(frozen=True)
class Way:
    """How a study is broken.

    Args:
        state: in which it has to end.
        code: which has to be the reason.
        change: breaks a good one.
        shape: of its image.
        in_a_folder: it has to be put into a watched folder, since nobody could send it.
    """

    state: State
    code: str
    change: Callable[[Path], object] = lambda folder: None
    shape: tuple[int, int, int] = SMALL
    in_a_folder: bool = False


def write_hippocampus(folder: Path, number: int) -> Sample:
    """A crop around a hippocampus, a real one where MEDKIT_DATA names them; written once."""
    if not folder.is_dir():
        crops = _crops()
        array, affine = crops[number % len(crops)]

        def write(place: Path) -> None:
            write_series(place, array, affine, order=False)
            give_number(place, number)

        _write(folder, write)
    return Sample(number, folder)


def write_small(folder: Path, number: int) -> Sample:
    """A noisy ellipsoid in few slices; written once."""
    if not folder.is_dir():
        _write(folder, lambda place: write_numbered(place, number, SMALL))
    return Sample(number, folder)


def write_broken(folder: Path, number: int, way: str) -> Sample:
    """A small study that is broken in a way; written once."""
    if not folder.is_dir():

        def write(place: Path) -> None:
            write_numbered(place, number, WAYS[way].shape)
            WAYS[way].change(place)

        _write(folder, write)
    return Sample(number, folder, way)


def _write(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a folder whole or not at all, or a run that is stopped would leave half a study."""
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(unfinished)
    unfinished.replace(folder)


@cache
def _crops() -> list[tuple[np.ndarray, np.ndarray]]:
    return list(images())


def _by_place(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])


def _changed(paths: Sequence[Path], change: Callable[[pydicom.Dataset], object]) -> None:
    for path in paths:
        image = pydicom.dcmread(path)
        change(image)
        image.save_as(path)


def _gap(folder: Path) -> None:
    _by_place(folder)[5].unlink()


def _no_place(folder: Path) -> None:
    def change(image: pydicom.Dataset) -> None:
        del image.ImagePositionPatient

    _changed(list(folder.iterdir()), change)


def _two_patients(folder: Path) -> None:
    _changed(_by_place(folder)[:7], lambda image: setattr(image, "PatientID", "4712"))


def _few_pixels(folder: Path) -> None:
    _changed(_by_place(folder)[4:5], lambda image: setattr(image, "PixelData", image.PixelData[:100]))


def _two_contents(folder: Path) -> None:
    """One instance comes twice, with other pixels."""
    first = _by_place(folder)[0]
    image = pydicom.dcmread(first)
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(first.with_name("zz.dcm"))


def _two_series(folder: Path) -> None:
    """Two series fit the one input."""
    for number, path in enumerate(_by_place(folder)):
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID = f"{image.StudyInstanceUID}.2"
        uid = f"{image.SeriesInstanceUID}.{number}"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        image.save_as(path.with_name(f"zz{number}.dcm"))


def _other_modality(folder: Path) -> None:
    _changed(list(folder.iterdir()), lambda image: setattr(image, "Modality", "OT"))


def _cut_short(folder: Path) -> None:
    path = _by_place(folder)[6]
    path.write_bytes(path.read_bytes()[:-200])


WAYS = {
    "a slice is missing": Way(State.REFUSED, "gap", _gap),
    "its worker dies of it": Way(State.QUARANTINED, "worker-died", shape=DEADLY),
    "no positions": Way(State.REFUSED, "no-geometry", _no_place),
    "one instance with two contents": Way(State.QUARANTINED, "instances-conflict", _two_contents),
    "two patients": Way(State.REFUSED, "mixed-patient", _two_patients),
    "it takes for ever": Way(State.QUARANTINED, "too-slow", shape=SLOW),
    "two series for one input": Way(State.REFUSED, "rules-ambiguous", _two_series),
    "too few pixels in a slice": Way(State.REFUSED, "truncated", _few_pixels),
    "a file is cut short": Way(State.QUARANTINED, "instances-missing", _cut_short, in_a_folder=True),
    "nothing that a rule wants": Way(State.SKIPPED, "no-rule", _other_modality),
}
