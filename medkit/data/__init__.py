"""Images, label maps and lists of cases: reading with strictness, writing without loss.

What belongs here: anything between a file and an array in RAS millimetres. What does not: arithmetic on
voxels (``metrics``, ``transforms``) and DICOM (``dicom``).
"""

from medkit.data.cases import Case, find_cases
from medkit.data.grid import Grid
from medkit.data.monai_io import LabelWriter, VolumeReader
from medkit.data.reading import read_volume
from medkit.data.volume import Volume, as_volume
from medkit.data.writing import write_labels, write_volume

__all__ = [
    "Case",
    "Grid",
    "LabelWriter",
    "Volume",
    "VolumeReader",
    "as_volume",
    "find_cases",
    "read_volume",
    "write_labels",
    "write_volume",
]
