from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from medkit.data.grid import Grid, flip_lps_ras, voxels_apart
from tests.phantoms import OBLIQUE, SHAPE


def sheared(amount=0.3):
    shear = np.eye(4)
    shear[0, 1] = amount
    return OBLIQUE @ shear


def test_lps_and_ras_are_each_others_flip():
    np.testing.assert_array_equal(flip_lps_ras(OBLIQUE)[:, 3], [31.25, -17.5, 44, 1])
    np.testing.assert_array_equal(flip_lps_ras(flip_lps_ras(OBLIQUE)), OBLIQUE)


def test_spacing_and_volume_of_a_voxel():
    grid = Grid(SHAPE, OBLIQUE)
    np.testing.assert_allclose(grid.spacing, [1.2, 0.9, 1.7])
    assert grid.voxel_volume_ml == pytest.approx(1.2 * 0.9 * 1.7 / 1000)
    # Shear keeps the volume, though it lengthens an edge.
    assert Grid(SHAPE, sheared()).voxel_volume_ml == pytest.approx(1.2 * 0.9 * 1.7 / 1000)


def test_distance_between_affines_is_that_of_the_worst_corner_in_shortest_edges():
    moved = OBLIQUE.copy()
    moved[1, 3] += 0.45
    assert voxels_apart(SHAPE, OBLIQUE, moved) == pytest.approx(0.5)
    longer = np.diag([1.01, 1, 1, 1])
    assert voxels_apart((101, 5, 5), np.eye(4), longer) == pytest.approx(1)
    assert voxels_apart((101, 5, 5, 9), np.eye(4), longer) == pytest.approx(1)
    assert voxels_apart(SHAPE, OBLIQUE, OBLIQUE) == 0
    assert np.isnan(voxels_apart(SHAPE, OBLIQUE, OBLIQUE * np.nan))


def test_a_grid_without_source_gets_both_forms_in_millimetres():
    header = Grid(SHAPE, OBLIQUE).nifti_header()
    assert header.get_data_shape() == SHAPE
    assert header.get_xyzt_units()[0] == "mm"
    for affine, code in (header.get_qform(coded=True), header.get_sform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(affine, OBLIQUE, atol=2e-5)


def test_shear_is_left_to_the_sform():
    header = Grid(SHAPE, sheared()).nifti_header()
    assert header["qform_code"] == 0
    np.testing.assert_allclose(header.get_best_affine(), sheared(), atol=2e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header, nib.nifti1.Nifti1PairHeader])
@pytest.mark.parametrize("order", "<>")
def test_fields_of_a_source_header_come_back_whatever_its_kind(kind, order):
    source = kind()
    source.set_data_shape(SHAPE)
    source.set_qform(OBLIQUE, code=3)
    source.set_sform(OBLIQUE, code=4)
    source.set_xyzt_units("mm", "sec")
    source = source.as_byteswapped(order)
    back = Grid(SHAPE, OBLIQUE, nifti=Grid.nifti_fields(source)).nifti_header()
    assert type(back) is (nib.Nifti2Header if kind is nib.Nifti2Header else nib.Nifti1Header)
    for name in ("qform_code", "sform_code", "xyzt_units", "quatern_d", "qoffset_x", "srow_y"):
        np.testing.assert_array_equal(back[name], source[name])
    np.testing.assert_array_equal(back["pixdim"][:4], source["pixdim"][:4])


FULL = Grid(
    SHAPE,
    OBLIQUE / 3,
    ".nrrd",
    ("nifti1", nib.Nifti1Header().binaryblock),
    {"origin": (1 / 3, 2.0, 3.0), "spacing": (1.0, 1.0, 1.0)},
    ("space: RAS", "space directions: (1,0,0) (0,1,0) (0,0,1)"),
)


@pytest.mark.parametrize("grid", [Grid(SHAPE, OBLIQUE), FULL])
def test_a_grid_comes_back_from_json_to_the_last_digit(grid):
    back = Grid.from_json(grid.to_json())
    assert back == grid
    assert hash(back) == hash(grid)
    assert back.affine.tobytes() == grid.affine.tobytes()
    assert (back.nifti, back.itk, back.nrrd) == (grid.nifti, grid.itk, grid.nrrd)


def test_a_digit_makes_another_grid():
    nudged = OBLIQUE.copy()
    nudged[0, 0] = np.nextafter(nudged[0, 0], 2)
    assert Grid(SHAPE, nudged) != Grid(SHAPE, OBLIQUE)
    assert Grid(SHAPE, OBLIQUE) != Grid(SHAPE[::-1], OBLIQUE)
    assert Grid(SHAPE, OBLIQUE) != "grid"


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_block_lies_in_the_middle_of_its_voxels(block):
    grid = Grid((7, 6, 4), OBLIQUE, size_known=False, side_known=False)
    blocks = grid.of_blocks(block)
    assert blocks.shape == tuple(-(-size // block) for size in grid.shape)
    assert not blocks.size_known
    assert not blocks.side_known
    for place in itertools.product(*(range(size // block) for size in grid.shape)):
        voxels = np.array(list(itertools.product(*(range(block * at, block * (at + 1)) for at in place))))
        middle = nib.affines.apply_affine(OBLIQUE, voxels).mean(axis=0)
        np.testing.assert_allclose(nib.affines.apply_affine(blocks.affine, place), middle, atol=1e-9)
