"""NIfTI files say what the reader says, and nothing is overwritten or left half-written."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

import medkit.dicom.conversion
from medkit.data import read_volume
from medkit.dicom import convert, read
from medkit.errors import UsageError
from tests.dicom_series import make
from tests.dicom_series.stacks import Stack


def test_a_volume_and_its_verdict(stack, written, tmp_path):
    folder = written(stack.datasets)
    (volume,) = read(folder).volumes
    conversion = convert(folder, tmp_path / "out")
    assert [path.name for path in conversion.files.values()] == ["003.nii.gz"]
    image = nib.load(tmp_path / "out" / "003.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), volume.array)
    assert image.get_data_dtype() == np.int16
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_sform(), volume.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), volume.affine, atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(read_volume(tmp_path / "out" / "003.nii.gz").array, volume.array), "medkit takes it"
    record = json.loads((tmp_path / "out" / "verdicts.json").read_text())
    assert [series["verdict"] for series in record["series"]] == ["read"]
    assert record["series"][0]["volumes"][0]["file"] == "003.nii.gz"


@pytest.mark.parametrize(("kind", "qform"), [("axial-oblique", 1), ("tilt", 0), ("shear-oblique-down", 0)])
def test_a_shear_goes_into_the_sform_alone(kind, qform, tmp_path):
    make(kind, tmp_path / "in")
    (volume,) = read(tmp_path / "in").volumes
    (path,) = convert(tmp_path / "in", tmp_path / "out").files.values()
    image = nib.load(path)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (qform, 1)
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)


def test_float_where_rescaling_asks_for_it(tmp_path):
    make("pet-slope-per-slice", tmp_path / "in")
    (path,) = convert(tmp_path / "in", tmp_path / "out").files.values()
    (volume,) = read(tmp_path / "in").volumes
    image = nib.load(path)
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(image.dataobj), volume.array)


def test_padding_has_a_file_of_its_own(stack, written, tmp_path):
    for dataset in stack.datasets:
        dataset.PixelPaddingValue = int(np.frombuffer(dataset.PixelData, "<u2")[5])
    convert(written(stack.datasets), tmp_path / "out")
    mask = np.asarray(nib.load(tmp_path / "out" / "003_padding.nii.gz").dataobj)
    assert mask.shape == (14, 12, 9)
    assert mask[5, 0].all()
    assert set(np.unique(mask)) == {0, 1}


def test_other_results_are_never_touched(stack, written, tmp_path):
    folder = written(stack.datasets)
    convert(folder, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UsageError, match="expected an empty folder"):
        convert(folder, tmp_path / "out")
    with pytest.raises(UsageError, match="expected an empty folder"):
        convert(folder, folder)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="expected an empty folder"):
        convert(folder, tmp_path / "file")


def test_verdicts_come_last(stack, written, tmp_path, monkeypatch):
    other = Stack(stack.rng, identity=stack.identity.another_series(stack.rng))
    folder = written([*stack.datasets, *other.datasets])
    write, calls = medkit.dicom.conversion.write_volume, []

    def second_fails(path, array, grid):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(path))
        write(path, array, grid)

    monkeypatch.setattr(medkit.dicom.conversion, "write_volume", second_fails)
    with pytest.raises(OSError, match="No space left"):
        convert(folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["003.nii.gz"]


def test_nothing_to_write_still_has_its_verdict(stack, written, tmp_path):
    del stack.datasets[4].ImagePositionPatient
    convert(written(stack.datasets), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["verdicts.json"]
