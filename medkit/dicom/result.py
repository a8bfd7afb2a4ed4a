"""What reading gives: volumes, and a verdict on every series."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from medkit.dicom.findings import Finding

__all__ = ["OTHER_KINDS", "Frame", "Reading", "SeriesReading", "SeriesVolume", "Told"]

# Codes of files that nobody misses.
OTHER_KINDS = frozenset({"not-dicom", "directory"})


@dataclass(frozen=True)
class Frame:
    """Where one slice of a volume came from.

    Args:
        path: the file, or the zip that holds it.
        member: its name in the zip.
        sop_instance_uid: of the object.
        frame: its number there, from 1.
    """

    path: Path
    member: str | None
    sop_instance_uid: str
    frame: int


@dataclass(frozen=True)
class Told:
    """What headers tell; ``None`` where they do not, or do not agree.

    Args:
        patient: hash, see :func:`medkit.dicom.facts.rule_facts`.
        study: hash.
        frame_of_reference: hash.
        body_part: BodyPartExamined, or the meaning of the coded anatomic region, in capitals.
        series_description: as it was typed: it may hold patients' data.
        slice_thickness_mm: SliceThickness.
        contrast_agent: whether one was given.
        image_type: values of ImageType, of the frames where these have their own.
        own_result: whether medkit made one of the images.
    """

    patient: str | None = None
    study: str | None = None
    frame_of_reference: str | None = None
    body_part: str | None = None
    series_description: str | None = None
    slice_thickness_mm: float | None = None
    contrast_agent: bool | None = None
    image_type: tuple[str, ...] | None = None
    own_result: bool = False


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """A volume in the scanner's space.

    Args:
        array: ``(I, J, K)``: columns, rows, slices. Of an integer type where the series asks for no rescaling but a
            shift by whole numbers, of float32 elsewhere.
        affine: 4x4 float64, voxel index to RAS millimetres, shear included.
        frames: ``K`` of them, in the order of the third axis; none where a repair interpolated.
        notes: what a careful reader would want to know.
        repairs: what was done on request.
        name: unique within a reading and safe as a file name: the number of the series and what tells the volume from
            its others (``003_b-value-1000``). No patient's data.
        series_instance_uid: of the series.
        study_instance_uid: of the study.
        modality: such as ``CT``.
        facts: machine-readable remarks (keys that tell volumes apart, units, padding voxels). No patient's data.
        padding: ``(I, J, K)``, true where the file says that a voxel is padding and no measurement; ``None`` where it
            says so nowhere.
        told: what headers tell of it, for rules; with a description that may hold patients' data.
    """

    array: NDArray[Any]
    affine: NDArray[Any]
    frames: tuple[Frame, ...]
    notes: tuple[Finding, ...]
    repairs: tuple[Finding, ...]
    name: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str
    facts: dict[str, Any] = field(default_factory=dict)
    padding: NDArray[Any] | None = None
    told: Told = field(default_factory=Told)

    @property
    def called(self) -> str:
        """How messages call it: by its series, and by its own name where the files name no series."""
        return f"series {self.series_instance_uid}" if self.series_instance_uid else f"volume {self.name}"

    @property
    def frames_sha256(self) -> str | None:
        """By which the volume is known again, however it is called: a hash of SOP Instance UIDs and numbers of its
        frames, whatever their order. ``None`` where there are no frames, or one has no UID."""
        if not self.frames or not all(frame.sop_instance_uid for frame in self.frames):
            return None
        lines = sorted(f"{frame.sop_instance_uid} {frame.frame}\n" for frame in self.frames)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class SeriesReading:
    """The verdict on a series: its volumes, or why there are none.

    Args:
        series_instance_uid: of the series.
        modality: such as ``CT``.
        number: SeriesNumber, where there is one.
        volumes: all of them, whole. Empty where the series is refused, or holds no images.
        refusals: why a volume or the whole is refused.
        notes: on the series.
        files: how many files it has.
        sop_classes: SOP Class UIDs of these, of those that are no image too.
        told: where it is refused, what the headers of its files agree on; its volumes tell of themselves.
    """

    series_instance_uid: str
    modality: str
    number: int | None
    volumes: tuple[SeriesVolume, ...]
    refusals: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    files: int
    sop_classes: frozenset[str] = frozenset()
    told: Told = field(default_factory=Told)


@dataclass(frozen=True, eq=False)
class Reading:
    """The verdicts on all series of a source.

    Args:
        series: by number and UID.
        refusals: files that belong to no series: not DICOM, empty, broken.
    """

    series: tuple[SeriesReading, ...]
    refusals: tuple[Finding, ...]

    @property
    def refused(self) -> tuple[Finding, ...]:
        """All refusals, of series and of files that might be of use; not those of files of other kinds."""
        files = tuple(finding for finding in self.refusals if finding.code not in OTHER_KINDS)
        return tuple(finding for series in self.series for finding in series.refusals) + files

    @property
    def volumes(self) -> tuple[SeriesVolume, ...]:
        """Those of all series."""
        return tuple(volume for series in self.series for volume in series.volumes)
