"""What a frame says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medkit.dicom.findings import Refused
from medkit.dicom.planes import cosines_note, normalised, unit_orientation


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
    assert normalised("30.0") == normalised("30") == normalised(" 3e1") == "30"
    assert normalised("1\\2.50") == "1\\2.5"
    assert normalised("ORIGINAL\\PRIMARY") == "ORIGINAL\\PRIMARY"
    assert normalised("20200102101112.123456") != normalised("20200102101112.123457")
