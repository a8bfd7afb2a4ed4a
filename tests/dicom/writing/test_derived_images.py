"""Series of images that a network made: values and places as they were, and marked for what they are."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread

from medkit.data.reading import read_volume
from medkit.dicom import read
from medkit.dicom.writing.burned_text import text_mask
from medkit.dicom.writing.derived_images import DerivedModality, make_derived_images
from medkit.dicom.writing.placing import on_grid
from medkit.dicom.writing.saving import save
from medkit.errors import CaseError
from tests.dicom.writing.sources import MAKER, geometry

MR, CT = DerivedModality
SHAPE = (40, 50, 4)
WORDS = ~text_mask(SHAPE[1], SHAPE[0]).T[:, :, None]


def written(source, folder, array, affine, modality=MR):
    folder.mkdir()
    images = make_derived_images(source, array, affine, MAKER, modality=modality, what="super-resolution")
    for number, image in enumerate(images):
        save(image, folder / f"{len(images) - number}.dcm")  # in an order that says nothing
    return images


def outside_of_words(array):
    ink = np.argwhere(~WORDS[..., 0])
    right, down = ink.max(axis=0) + 2
    keep = np.ones(array.shape, bool)
    keep[:right, :down] = False
    return array[keep]


VALUES = {
    "float": lambda noise: noise * 1.7 + 100,
    "small float": lambda noise: noise / 1e4,
    "int16": lambda noise: (noise * 100).astype(np.int16),
    "uint16": lambda noise: np.clip(noise * 1e4 + 3e4, 0, 65535).astype(np.uint16),
    "int32": lambda noise: (noise * 1e5).astype(np.int32),
    "constant": lambda noise: noise * 0 + 3.5,
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("axcodes", ["LPS", "SAL", "RIP"])
def test_values_and_places_come_back(oblique, tmp_path, values, axcodes):
    array = values(np.random.default_rng(0).normal(size=SHAPE))
    affine = geometry(axcodes, oblique=True)[1] @ np.diag([0.5, 0.5, 0.5, 1])  # finer than the source
    written(oblique, tmp_path / "made", array, affine)
    (volume,) = read(tmp_path / "made").volumes
    expected = SimpleNamespace(array=array, affine=affine, name="made", series_instance_uid="")
    got = on_grid(volume.array, volume.affine, expected)
    step = 0.0 if array.dtype.kind in "iu" and array.dtype.itemsize == 2 else float(np.ptp(array)) / 65535
    difference = outside_of_words(np.abs(got.astype(float) - array)).max()
    assert difference <= step * 0.51 + 1e-6 * np.abs(array).max()


def test_hounsfield_units_stay_whole(oblique, tmp_path):
    array = np.random.default_rng(0).uniform(-1024, 3000, SHAPE)
    _, affine = geometry("LPS")
    images = written(oblique, tmp_path / "made", array, affine, CT)
    (volume,) = read(tmp_path / "made").volumes
    assert np.abs(outside_of_words(volume.array.astype(float) - array)).max() <= 0.5
    assert {(image.RescaleSlope, image.RescaleIntercept, image.RescaleType) for image in images} == {
        (1, 0, "HU")
    }
    with pytest.raises(CaseError, match="clip") as error:
        make_derived_images(oblique, array * 100, affine, MAKER, modality=CT, what="synthesis")
    assert error.value.code == "values-out-of-range"


def test_each_image_is_marked(oblique, tmp_path, errors):
    array = np.random.default_rng(0).normal(size=SHAPE)
    images = written(oblique, tmp_path / "made", array, geometry("LPS")[1])
    assert len({image.SOPInstanceUID for image in images}) == SHAPE[2]
    assert len({image.SeriesInstanceUID for image in images}) == 1
    for path in (tmp_path / "made").iterdir():
        assert errors(path) == []
        image = dcmread(path)
        assert image.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert image.BurnedInAnnotation == "YES"
        assert image.FrameOfReferenceUID == oblique.header.FrameOfReferenceUID
        pixels = image.pixel_array
        mask = text_mask(*pixels.shape)
        assert (
            pixels[mask].min()
            > pixels[: mask.any(1).nonzero()[0].max(), : mask.any(0).nonzero()[0].max()].min()
        )
        assert len(image.SourceImageSequence) == len(oblique.headers)


def test_other_programs_find_the_same_place(oblique, tmp_path, tool):
    array = np.random.default_rng(0).normal(size=SHAPE) * 100
    _, affine = geometry("SAL", oblique=True)
    written(oblique, tmp_path / "made", array, affine)
    call = [tool("dcm2niix"), "-f", "image", "-o", str(tmp_path), str(tmp_path / "made")]
    subprocess.run(call, check=True, capture_output=True)
    image = read_volume(tmp_path / "image.nii")
    expected = SimpleNamespace(array=array, affine=affine, name="made", series_instance_uid="")
    got = on_grid(image.array, image.grid.affine, expected)
    assert outside_of_words(np.abs(got - array)).max() < 0.01


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(oblique, value):
    array = np.zeros(SHAPE)
    array[1, 2, 3] = value
    with pytest.raises(CaseError) as error:
        make_derived_images(oblique, array, np.eye(4), MAKER, modality=MR, what="synthesis")
    assert error.value.code == "voxels-not-finite"


def test_a_sheared_grid(oblique):
    shear = np.eye(4)
    shear[0, 2] = 0.3
    with pytest.raises(CaseError, match="17 degrees") as error:
        make_derived_images(oblique, np.zeros(SHAPE), shear, MAKER, modality=MR, what="synthesis")
    assert error.value.code == "source-sheared"
