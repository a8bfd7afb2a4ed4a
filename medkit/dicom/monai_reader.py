"""MONAI's reader over :func:`medkit.dicom.read`, so that a bundle's ``LoadImaged`` takes DICOM series.

MONAI's own readers sort by what the file names or tags say, drop the shear of a tilted stack, and mix phases.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai.data import ImageReader

from medkit.data.checks import check_volume
from medkit.data.grid import Grid
from medkit.data.monai_io import volume_metadata
from medkit.data.volume import Volume
from medkit.dicom.reading import read
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from medkit.dicom.findings import Repair
    from medkit.dicom.result import Reading, SeriesVolume

__all__ = ["DicomReader"]

_NAMED = 12  # volumes that a message lists


class DicomReader(ImageReader):
    """Reads the one volume of a folder, a zip, a file or a list of files.

    Args:
        repairs: see :class:`medkit.dicom.Repair`.
        picks: see :func:`medkit.dicom.read`; needed where there are several volumes.

    Raises:
        CaseError: from ``get_data``: a refusal of the series with its code, ``dicom-several-volumes`` or
            ``dicom-no-volume``.
        UsageError: from ``get_data``: nothing there, or a pick that nothing has.
    """

    def __init__(
        self, repairs: Collection[Repair | str] = (), picks: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.repairs, self.picks = tuple(repairs), dict(picks or {})

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Whether it is a folder, or a file without a name of another format."""
        return all(
            Path(path).is_dir() or Path(path).suffix.lower() in _SUFFIXES for path in _as_paths(filename)
        )

    def read(self, data: Sequence[str] | str, **_: Any) -> tuple[Path, ...]:
        """The paths. They are read in ``get_data``, whose errors ``LoadImage`` lets through."""
        return _as_paths(data)

    def get_data(self, img: tuple[Path, ...]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Array ``(I, J, K)`` and its metadata, with the volume's notes and repairs under ``medkit_dicom``."""
        found = only_volume(read(img, repairs=self.repairs, picks=self.picks), str(img[0]))
        volume = Volume(
            found.array,
            Grid((found.array.shape[0], found.array.shape[1], found.array.shape[2]), found.affine),
            str(img[0]),
            tuple(note.message for note in (*found.notes, *found.repairs)),
        )
        check_volume(volume)
        return volume.array, volume_metadata(volume) | {"medkit_dicom": list(volume.notes)}


def only_volume(reading: Reading, where: str) -> SeriesVolume:
    """The one volume of a reading.

    Raises:
        CaseError: the first refusal, where there is one: what is missing may be what was meant. Else
            ``dicom-several-volumes`` or ``dicom-no-volume``.
    """
    for finding in reading.refused:
        raise CaseError(finding.code, finding.message)
    names = [volume.name for volume in reading.volumes]
    if not names:
        raise CaseError(
            "dicom-no-volume",
            f"{where}: expected a DICOM series with images, got none; see medkit dicom inspect",
        )
    if len(names) > 1:
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        raise CaseError(
            "dicom-several-volumes",
            f"{where}: expected one volume, got {len(names)} ({shown}); pick one by its name (volume) or by "
            "what tells it "
            "apart",
        )
    return reading.volumes[0]


_SUFFIXES = {"", ".dcm", ".dicom", ".ima", ".zip"}


def _as_paths(names: Sequence[str] | str) -> tuple[Path, ...]:
    return (Path(names),) if isinstance(names, (str, Path)) else tuple(Path(name) for name in names)
