from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medkit.data.checks import (
    check_nifti_header,
    check_not_constant,
    check_same_grid,
    check_shape,
    check_volume,
)
from medkit.data.grid import Grid
from medkit.data.volume import Volume
from medkit.errors import CaseError
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti
from tests.traced_memory import peak_bytes

IMAGE, _ = hippocampus()


def volume(array=IMAGE, affine=OBLIQUE):
    return Volume(array, Grid(tuple(array.shape[:3]), np.asarray(affine, float)), "scan")


def code(run) -> str:
    with pytest.raises(CaseError, match=r"scan: expected .* got ") as caught:
        run()
    assert "\n" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_every_real_type_passes_as_it_is(dtype):
    given = volume((IMAGE > 500).astype(dtype))
    assert check_volume(given) is given


def test_channels_pass():
    check_volume(volume(np.stack([IMAGE, IMAGE], -1)))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "M8[s]"])
def test_what_is_no_number_is_refused(dtype):
    assert code(lambda: check_volume(volume(np.zeros(SHAPE).astype(dtype)))) == "voxels-not-numeric"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", "CF")
def test_one_bad_voxel_anywhere_is_found_and_counted(bad, dtype, order):
    for place in ((0, 0, 0), (12, 10, 8), (5, 0, 8)):
        array = np.asarray(IMAGE, dtype, order=order).copy(order)
        array[place] = bad
        with pytest.raises(CaseError, match=f"got 1 of {array.size} ") as caught:
            check_volume(volume(array))
        assert caught.value.code == "voxels-not-finite"
    array = np.stack([IMAGE.astype(dtype)] * 2, -1)
    array[3, 3, 3, 1] = bad
    assert code(lambda: check_volume(volume(array))) == "voxels-not-finite"


@pytest.mark.parametrize("order", "CF")
def test_looking_for_bad_voxels_takes_no_second_volume(order):
    array = np.zeros((100, 100, 100), np.float32, order=order)
    assert peak_bytes(lambda: check_volume(volume(array))) < array.size / 10


@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 4, 4, 7), (4, 4, 4, 1)])
def test_shapes_of_volumes(shape):
    check_shape(shape, "scan")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        *[((0, 4, 4), "empty-volume"), ((4, 4, 4, 0), "empty-volume"), ((0,), "empty-volume")],
        *[((), "not-3d"), ((4,), "not-3d"), ((4, 4), "not-3d"), ((4, 4, 1), "not-3d"), ((1, 4, 4), "not-3d")],
        *[((4, 1, 4), "not-3d"), ((4, 4, 4, 4, 4), "not-3d")],
    ],
)
def test_shapes_of_other_things(shape, expected):
    assert code(lambda: check_shape(shape, "scan")) == expected


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        *[((4, 5), "stack the slices"), ((4, 5, 1), "stack the slices"), ((1, 4, 5, 2), "stack the slices")],
        *[
            ((1, 1, 1), "no slice of a volume"),
            ((7, 1, 1), "no slice of a volume"),
            ((7,), "no slice of a volume"),
        ],
        ((4, 4, 4, 2, 2), "one volume a file"),
    ],
)
def test_a_shape_is_told_what_helps_it(shape, remedy):
    with pytest.raises(CaseError, match=f"; .*{remedy}"):
        check_shape(shape, "scan")


def scaled(*edges):
    return np.diag([*edges, 1])


@pytest.mark.parametrize("edges", [(0.01, 1, 1), (1, 100, 1), (-1, 1, -6)])
def test_edges_that_scanners_make(edges):
    check_volume(volume(affine=scaled(*edges)))


@pytest.mark.parametrize("edge", [0, 1e-9, 0.001, 1000, 1e6])
def test_edges_that_none_makes(edge):
    assert code(lambda: check_volume(volume(affine=scaled(1, edge, 1)))) == "spacing-absurd"


def test_affines_that_place_nothing():
    flat = np.eye(4)
    flat[:3, 1] = flat[:3, 0]
    assert code(lambda: check_volume(volume(affine=flat))) == "affine-singular"
    assert code(lambda: check_volume(volume(affine=OBLIQUE * np.nan))) == "affine-not-finite"
    far = OBLIQUE.copy()
    far[0, 3] = np.inf
    assert code(lambda: check_volume(volume(affine=far))) == "affine-not-finite"


def header(**fields) -> nib.Nifti1Header:
    made = nifti(IMAGE).header
    for name, value in fields.items():
        made[name] = value
    return made


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.zeros(SHAPE, np.int16), "0"),
        (np.full((2, 2, 2), -7.5, np.float32), "-7.5"),
        (np.ones(SHAPE, bool), "1"),
        (np.broadcast_to(np.array([3, 4], np.uint8), (*SHAPE, 2)), "3, 4"),
    ],
)
def test_an_image_that_shows_nothing_is_refused(array, shown):
    with pytest.raises(
        CaseError, match=f"scan: expected an image that shows something, got {shown} in every"
    ):
        check_not_constant(volume(array), {})
    assert code(lambda: check_not_constant(volume(array), {})) == "image-constant"


def test_one_voxel_is_something_to_show():
    for place in ((0, 0, 0), tuple(n - 1 for n in SHAPE)):
        array = np.zeros(SHAPE)
        array[place] = 1e-9
        assert check_not_constant(volume(array), {}) == []
        assert check_not_constant(volume(np.stack([array, array + 1], -1)), {}) == []


def test_a_channel_that_shows_nothing_is_remarked_on():
    image = np.stack([IMAGE * 0, IMAGE, IMAGE * 0 + 2.5], -1)
    assert check_not_constant(volume(image), {0: "FLAIR"}) == [
        "channel 0 (FLAIR) of the image shows nothing: it is 0 in every voxel",
        "channel 2 of the image shows nothing: it is 2.5 in every voxel",
    ]


def test_a_good_header_needs_no_remark():
    assert check_nifti_header(header(), "scan") == []
    assert check_nifti_header(header(xyzt_units=2 + 8), "scan") == []


def test_remarks():
    assert "no unit" in check_nifti_header(header(xyzt_units=8), "scan")[0]
    assert "side" in check_nifti_header(header(qform_code=0, sform_code=0), "scan")[0]


@pytest.mark.parametrize("unit", [1, 3, 1 + 8, 3 + 16, 5])
def test_other_units_are_refused(unit):
    assert code(lambda: check_nifti_header(header(xyzt_units=unit), "scan")) == "units-not-mm"


@pytest.mark.parametrize(("voxels", "agree"), [(0.05, True), (0.2, False)])
def test_forms_may_differ_by_rounding_only(voxels, agree):
    moved = header(qoffset_y=17.5 + 0.9 * voxels)
    if agree:
        assert check_nifti_header(moved, "scan") == []
    else:
        assert code(lambda: check_nifti_header(moved, "scan")) == "forms-disagree"


@pytest.mark.parametrize(
    ("kind", "voxels", "agree"),
    [
        *[(nib.Nifti1Header, 0, True), (nib.Nifti1Header, 0.5, True), (nib.Nifti1Header, 1.5, False)],
        *[(nib.Nifti2Header, 0, True), (nib.Nifti2Header, 0.5, False)],
    ],
)
def test_near_half_a_turn_single_quaternions_round_more(kind, voxels, agree):
    """Stored in LPS order and turned by 0.05 degrees, as a scanner may: the turn is lost from the qform."""
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(8e-4) @ np.diag([-0.5, -0.5, 0.5]))
    made = kind()
    made.set_data_shape((512, 512, 512))
    made.set_xyzt_units("mm")
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    assert (np.abs(made.get_qform() - affine).max() > 3e-4) == (kind is nib.Nifti1Header)
    made["qoffset_x"] += 0.5 * voxels
    if agree:
        assert check_nifti_header(made, "scan") == []
    else:
        assert code(lambda: check_nifti_header(made, "scan")) == "forms-disagree"


@pytest.mark.parametrize("unset", ["qform_code", "sform_code"])
def test_a_form_that_is_unset_may_say_anything(unset):
    moved = header(qoffset_y=99)
    moved[unset] = 0
    assert check_nifti_header(moved, "scan") == []


def test_a_turn_shows_at_the_far_corner_only():
    turned = header()
    turned.set_qform(OBLIQUE @ nib.affines.from_matvec(nib.eulerangles.euler2mat(0.05)), code=1)
    assert code(lambda: check_nifti_header(turned, "scan")) == "forms-disagree"


def test_forms_that_are_not_numbers_disagree():
    assert code(lambda: check_nifti_header(header(quatern_c=np.nan), "scan")) == "forms-disagree"


def test_grids_agree_within_rounding():
    nearly = np.eye(4) + 1e-4
    nearly[3] = (0, 0, 0, 1)
    check_same_grid(Grid((4, 5, 6), nearly), "a", Grid((4, 5, 6), np.eye(4)), "b")


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4, 5, 7), np.eye(4), r"shape \(4, 5, 7\) instead of \(4, 5, 6\)"),
        ((4, 5, 6), np.diag([-1, 1, 1, 1]), "voxel edges away"),
        ((4, 5, 6), nib.affines.from_matvec(np.eye(3), (0, 0, 1)), "voxel edges away"),
    ],
    ids=["shape", "flipped", "shifted"],
)
def test_other_grids_are_refused(shape, affine, message):
    with pytest.raises(CaseError, match=message) as caught:
        check_same_grid(Grid(shape, affine), "moved", Grid((4, 5, 6), np.eye(4)), "reference")
    assert caught.value.code == "grids-differ"
