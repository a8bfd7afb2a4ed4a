"""Generated DICOM series whose every voxel is a known function of its true position in millimetres.

``make`` writes one kind of series into a folder and says what a right reader gives; ``judge`` compares that with what a
reader gave. A kind belongs here when scanners, archives or hands produce it and the standard says, or a careful person
would say, what is right. Nothing here knows medkit: the series are written by pydicom alone.
"""

from __future__ import annotations

from tests.dicom_series.judging import Outcome, Verdict, judge
from tests.dicom_series.kinds import KINDS, Kind, load_kinds, make
from tests.dicom_series.truth import TrueVolume, Truth

__all__ = ["KINDS", "Kind", "Outcome", "TrueVolume", "Truth", "Verdict", "judge", "make"]

load_kinds()
