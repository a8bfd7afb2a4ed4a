"""What a frame says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from medkit.dicom.elements import Elements
from medkit.dicom.findings import Refused
from medkit.dicom.planes import cosines_note, key_text, unit_orientation


@given(angles=st.tuples(*[st.floats(-3, 3)] * 3), digits=st.integers(4, 9), length=st.floats(0.6, 1.9))
def test_directions_survive_rounding_and_length(angles, digits, length):
    axes = Rotation.from_euler("xyz", angles).as_matrix()[:2]
    found = unit_orientation((axes * length).round(digits).ravel(), "file")
    np.testing.assert_allclose(found, axes, atol=2 * 10.0**-digits / length)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert bool(cosines_note((axes * length).ravel())) == (abs(length - 1) > 2e-3)


@pytest.mark.parametrize(
    "cosines", [(0,) * 6, (1, 0, 0, 1, 0, 0), (1, 0, 0, 0.1, 0.995, 0), (9, 0, 0, 0, 9, 0)]
)
def test_what_is_no_direction(cosines):
    with pytest.raises(Refused) as refused:
        unit_orientation(np.array(cosines, float), "file")
    assert refused.value.finding.code == "bad-orientation"
    assert unit_orientation(None, "file") is None


def test_numbers_are_one_however_they_are_written():
    assert keys("EchoTime", "30.0") == keys("EchoTime", "30") == keys("EchoTime", "3e1") == "30"
    assert keys("FlipAngle", ["1", "2.50"]) == "1\\2.5"
    assert keys("AcquisitionNumber", "1234567") != keys("AcquisitionNumber", "1234568")


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("AcquisitionDateTime", "20200102101112", "20200102101113"),
        ("AcquisitionDateTime", "20200102101112.123456", "20200102101112.123457"),
        ("AcquisitionTime", "101112.1", "101112.2"),
        ("StackID", "1", "01"),
        ("ContrastBolusAgent", "12345671", "12345672"),
        ("ImageType", ["ORIGINAL", "PRIMARY"], ["ORIGINAL", "SECONDARY"]),
    ],
)
def test_text_and_times_stay_as_they_are(name, one, other):
    assert keys(name, one) != keys(name, other)
    assert keys(name, one) == "\\".join([one] if isinstance(one, str) else one)


def keys(name, value):
    dataset = Dataset()
    setattr(dataset, name, value)
    return key_text(Elements(dataset, "file"), name)
