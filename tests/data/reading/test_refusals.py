"""What is damaged is refused in one line, and passes for no image."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from medkit.data.reading import read_volume, volume_from_nibabel
from medkit.errors import CaseError
from tests.data.reading.files import IMAGE, itk_image, write_image
from tests.data.reading.malformed import MALFORMED, refusal
from tests.phantoms import nifti


@pytest.mark.parametrize(
    ("code", "what"), [(code, what) for code, whats in MALFORMED.items() for what in whats]
)
def test_malformed_input_is_refused_in_one_line(tmp_path, code, what, recwarn):
    refused = refusal(MALFORMED[code][what](tmp_path))
    assert refused.code == code, refused
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz", "a.mha", "a.nrrd"])
def test_no_flipped_bit_passes_for_a_voxel(tmp_path, name):
    if name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(itk_image(), tmp_path / name, useCompression=True)
    else:
        write_image(tmp_path / name)
    whole, refused = (tmp_path / name).read_bytes(), 0
    for place in range(len(whole) // 3, len(whole), 31):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(read_volume(tmp_path / name).array, IMAGE)
        except CaseError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("name", ["a.nii", "a.mgh", "a.nrrd", "a.mha"])
@given(data=st.data())
def test_garbage_in_the_header_never_raises_anything_else(tmp_path, name, data):
    path = tmp_path / name
    write_image(path)
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 350), min_size=1, max_size=6)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        volume = read_volume(path)
    except CaseError:
        return
    assert np.isfinite(volume.array).all()
    assert volume.array.shape[:3] == volume.grid.shape
    assert abs(np.linalg.det(volume.grid.affine)) > 0


def test_a_damaged_nibabel_image_is_refused_under_its_name():
    image = nifti(IMAGE)
    image.header["quatern_b"] = 3
    with pytest.raises(CaseError, match="<nibabel image>: expected") as caught:
        volume_from_nibabel(image)
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize("where", ["LOCAL", "a.zraw"])
def test_metaimage_whose_voxels_do_not_match_their_checksum(tmp_path, where):
    path = tmp_path / ("a.mha" if where == "LOCAL" else "a.mhd")
    sitk.WriteImage(itk_image(), path, useCompression=True)
    voxels = path if where == "LOCAL" else tmp_path / where
    voxels.write_bytes(voxels.read_bytes()[:-1] + b"\0")
    assert "incorrect data check" in str(refusal(path))
