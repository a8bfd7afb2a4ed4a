"""MONAI loads series with the reader, in its own space, and hears why not."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged

from medkit.dicom import DicomReader, read
from medkit.errors import CaseError, UsageError
from tests.dicom_series import make
from tests.dicom_series.stacks import Stack


@pytest.mark.parametrize("kind", ["tilt", "axial-oblique", "axial"])
def test_a_series_is_loaded_with_its_affine(kind, tmp_path):
    make(kind, tmp_path)
    (volume,) = read(tmp_path).volumes
    image = LoadImage(reader=DicomReader(), image_only=True)(str(tmp_path))
    assert np.array_equal(image.numpy(), volume.array.astype(np.float32))
    np.testing.assert_allclose(image.affine.numpy(), volume.affine)
    assert EnsureChannelFirst()(image).shape == (1, *volume.array.shape)
    assert len(image.meta["medkit_dicom"]) == len(volume.notes)


def test_a_bundle_s_way(stack, written):
    folder = written(stack.datasets)
    load = LoadImaged(keys="image", reader="medkit.dicom.DicomReader")
    data = load({"image": str(folder)})
    assert data["image"].shape == (14, 12, 9)


def test_repairs_and_picks(tmp_path, mr, written):
    make("tilt", tmp_path / "tilt")
    image = LoadImage(reader=DicomReader(repairs=["deshear"]))(str(tmp_path / "tilt"))
    assert abs(float(image.affine[:3, 1] @ image.affine[:3, 2])) < 1e-6
    late = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, offset=300)
    for dataset in late.datasets:
        dataset.EchoTime = "80"
    folder = str(written([*mr.datasets, *late.datasets]))
    with pytest.raises(
        CaseError, match=r"expected one volume, got 2 \(003_echo-time-11, 003_echo-time-80\)"
    ) as error:
        DicomReader().get_data(DicomReader().read(folder))
    assert error.value.code == "dicom-several-volumes"
    assert LoadImage(reader=DicomReader(picks={"echo-time": "80"}))(folder).shape == (14, 12, 9)


def test_refusals_have_their_code(stack, written, tmp_path):
    del stack.datasets[4].ImagePositionPatient
    with pytest.raises(CaseError) as error:
        DicomReader().get_data((written(stack.datasets),))
    assert error.value.code == "no-geometry"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseError) as error:
        DicomReader().get_data((tmp_path / "empty",))
    assert error.value.code == "dicom-no-volume"
    with pytest.raises(UsageError, match="got nothing there"):
        DicomReader().get_data((tmp_path / "missing",))


def test_names_of_other_formats_are_left_to_others(tmp_path):
    reader = DicomReader()
    assert reader.verify_suffix(str(tmp_path))
    assert reader.verify_suffix(["a.dcm", "b.zip", "IM0001"])
    assert not reader.verify_suffix("a.nii.gz")
