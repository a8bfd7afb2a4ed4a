"""Memory: that of the volume, whatever a header claims."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data.reading import read_volume
from tests.data.reading.files import itk_image
from tests.data.reading.malformed import MALFORMED, refusal
from tests.phantoms import nifti
from tests.traced_memory import peak_bytes


def test_headers_that_claim_too_much_cost_no_memory(tmp_path):
    for what in ("30000^3", "30000^3 in gz"):
        path = MALFORMED["file-truncated"][what](tmp_path)
        assert peak_bytes(lambda path=path: refusal(path)) < 1e6


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_a_short_header_may_stand_for_many_voxels(tmp_path, name):
    sitk.WriteImage(itk_image(np.zeros((200, 200, 100), np.uint8)), tmp_path / name)
    assert read_volume(tmp_path / name).array.shape == (200, 200, 100)


@pytest.mark.parametrize(("dtype", "slope", "copies"), [("i2", np.nan, 1), ("f4", np.nan, 1), ("i2", 0.5, 3)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_memory_is_that_of_the_volume(tmp_path, name, dtype, slope, copies):
    """Of `copies` times what is stored: scaling 2 bytes makes 4 more, and nothing else may hold a volume."""
    array = np.random.default_rng(0).integers(0, 32000, (64, 64, 200)).astype(dtype)
    image = nifti(array)
    image.header.set_slope_inter(slope, None if np.isnan(slope) else 0)
    nib.save(image, tmp_path / name)
    read_volume(tmp_path / name)
    assert peak_bytes(lambda: read_volume(tmp_path / name)) < copies * array.nbytes * 1.15 + 1.2e6
