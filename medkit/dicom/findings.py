"""What the reader has to say: notes, refusals and repairs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Refused", "Repair", "counted"]


@dataclass(frozen=True)
class Finding:
    """A note, a refusal or a repair.

    Args:
        code: short machine-readable reason in kebab case; ``docs/dicom.md`` has them all.
        message: one line: what was expected, what was got, where, and for a refusal what to do.
    """

    code: str
    message: str


class Refused(Exception):
    """A file, a frame or a series cannot be read rightly."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(code, message)


class Repair(StrEnum):
    """What is done to a series on request only, and recorded with the volume; ``meaning`` says what it is."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Repair:  # noqa: D102  # of an Enum
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    DESHEAR = "deshear", "interpolate a tilted stack onto a grid with right angles"
    RESAMPLE = "resample", "interpolate slices at uneven distances, or over missing ones, onto even ones"
    SPLIT_GAPS = "split-gaps", "make a volume of each unbroken run of a stack with missing slices"
    DROP_LOCALIZER = "drop-localizer", "leave out localizer images"
    DROP_DUPLICATES = "drop-duplicates", "of different slices at one place keep the first by InstanceNumber"
    DROP_STRAY = "drop-stray", "leave out one or two slices that differ from the row in which they lie"
    DROP_BROKEN = "drop-broken", "leave out files and slices that cannot be read for themselves"
    SPLIT_FRAMES = "split-frames", "make a volume of the slices of each frame of reference"
    PASSES_BY_TIME = "passes-by-time", "deal slices at one place out to volumes by acquisition time"
    SIGN_OF_STREAM = (
        "sign-of-stream",
        "read JPEG 2000 pixels as signed where they say so and their header does not",
    )
    ACCEPT_COUNT = "accept-count", "take fewer images than were announced for the whole"


def counted(count: int, one: str, several: str) -> str:
    """A number and what is counted, as people write it: ``1 slice is``, ``2 slices are``."""
    return f"{count} {one if count == 1 else several}"
