"""Parametric maps: two decoders find the same numbers at the same places."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from highdicom.pm.sop import pmread

from medkit.dicom.writing.parametric_map import make_parametric_map
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.source import open_source
from medkit.errors import CaseError
from tests.dicom.writing.oracles import FLIP, by_dcmqi
from tests.dicom.writing.sources import CODES, KIDNEY, LEFT, MAKER, NAMES, geometry, write_series
from tests.figures.orientations import ALL_ORIENTATIONS

# A map is read by dcmqi where all labels are in one place.
ONE_PLACE = replace(MAKER, label_names={1: NAMES[1], 2: NAMES[2]}, codes={1: CODES[1], 2: CODES[2]})


def numbers(shape):
    return np.random.default_rng(4).random(shape).astype(np.float32)


def at(array, affine, points):
    places = np.round(nib.affines.apply_affine(np.linalg.inv(affine), points)).astype(int)
    return array[tuple(places.T)]


@pytest.mark.parametrize("axcodes", ALL_ORIENTATIONS[::3], ids="".join)
def test_others_find_the_same_numbers_at_the_same_places(tmp_path, axcodes):
    array, affine = geometry(axcodes, oblique=True)
    source = open_source(write_series(tmp_path / "source", array, affine, order=False))
    values = numbers(array.shape)
    save(
        make_parametric_map(source, values[::-1], affine @ flip_first(array.shape), ONE_PLACE),
        tmp_path / "map.dcm",
    )
    points = nib.affines.apply_affine(affine, np.argwhere(np.ones(array.shape)))
    ((found, place),) = by_dcmqi(tmp_path / "map.dcm", "paramap2itkimage")
    assert np.allclose(at(found, place, points), values.ravel())
    volume = pmread(tmp_path / "map.dcm").get_volume()
    assert np.allclose(at(volume.array, FLIP @ volume.affine, points), values.ravel())


def flip_first(shape):
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = shape[0] - 1
    return flip


def test_where_it_is(oblique):
    shape, affine = oblique.volume.array.shape, oblique.volume.affine

    def anatomy(maker):
        dataset = make_parametric_map(oblique, numbers(shape), affine, maker)
        return dataset.SharedFunctionalGroupsSequence[0].get("FrameAnatomySequence")

    (both,) = anatomy(ONE_PLACE)
    assert (both.FrameLaterality, both.AnatomicRegionSequence[0].CodeValue) == ("B", KIDNEY.value)
    (left,) = anatomy(replace(MAKER, label_names={1: "a"}))
    assert left.FrameLaterality == "L"
    (unpaired,) = anatomy(replace(MAKER, label_names={1: "a"}, codes={1: replace(CODES[1], modifiers=())}))
    assert unpaired.FrameLaterality == "U"
    other = replace(CODES[1], type=LEFT)  # any other concept
    assert anatomy(replace(ONE_PLACE, codes={1: CODES[1], 2: other})) is None


@pytest.mark.parametrize("values", [0.0, 1.0])
def test_a_map_that_is_the_same_everywhere(oblique, tmp_path, errors, values):
    shape, affine = oblique.volume.array.shape, oblique.volume.affine
    save(make_parametric_map(oblique, np.full(shape, values), affine, MAKER), tmp_path / "map.dcm")
    assert errors(tmp_path / "map.dcm") == []


def test_numbers_that_are_none(oblique):
    values = numbers(oblique.volume.array.shape)
    values[0, 0, 0] = np.nan
    with pytest.raises(CaseError) as error:
        make_parametric_map(oblique, values, oblique.volume.affine, MAKER)
    assert error.value.code == "voxels-not-finite"
