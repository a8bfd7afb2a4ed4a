"""What the reader has to say: notes, refusals and repairs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Refused", "Repair"]


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
    """What is done to a series on request only, and recorded with the volume.

    Members:
        DESHEAR: a tilted stack is interpolated onto a grid with right angles.
        RESAMPLE: slices at uneven distances are interpolated onto even ones.
        SPLIT_GAPS: a stack with missing slices becomes one volume for each unbroken run.
        DROP_LOCALIZER: localizer images are left out.
        DROP_DUPLICATES: of slices at one place with different content, the first by InstanceNumber is kept.
        DROP_STRAY: slices that differ from most of their series are left out.
        DROP_BROKEN: files that cannot be read are left out though they may belong to the series.
        PASSES_BY_TIME: slices at one place that only their acquisition time tells apart are dealt out by its order.
        ACCEPT_COUNT: fewer images than were announced are taken for the whole.
    """

    DESHEAR = "deshear"
    RESAMPLE = "resample"
    SPLIT_GAPS = "split-gaps"
    DROP_LOCALIZER = "drop-localizer"
    DROP_DUPLICATES = "drop-duplicates"
    DROP_STRAY = "drop-stray"
    DROP_BROKEN = "drop-broken"
    PASSES_BY_TIME = "passes-by-time"
    ACCEPT_COUNT = "accept-count"
