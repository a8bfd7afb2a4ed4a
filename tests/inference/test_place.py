"""A prediction lies where its image lies: in every orientation, and to the last digit of the header."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.phantoms import PLACE_FIELDS, hippocampus

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def stored(array, affine, order, signs):
    """The same body with its axes permuted and flipped, in memory and in the affine alike."""
    change = nib.orientations.inv_ornt_aff(np.array(list(zip(order, signs, strict=True))), array.shape)
    turned = nib.orientations.apply_orientation(array, np.array(list(zip(order, signs, strict=True))))
    return np.ascontiguousarray(turned), affine @ change


def test_every_orientation_gives_the_same_labels_in_the_same_place(tiny):
    shape, affine = (19, 25, 17), nib.affines.from_matvec(np.eye(3), [-20.3, 11.7, 4.1])
    image, _ = hippocampus(shape, affine)
    expected = tiny.predict(image, affine).labels
    assert 0 < np.count_nonzero(expected) < expected.size
    for order, signs in ORIENTATIONS:
        turned, its_affine = stored(image, affine, order, signs)
        found = tiny.predict(turned, its_affine)
        np.testing.assert_array_equal(found.grid.affine, its_affine)
        same, _ = stored(expected, affine, order, signs)
        np.testing.assert_array_equal(found.labels, same, err_msg=f"{order} {signs}")


@st.composite
def grids(draw):
    """Shape and affine of any image: axes permuted and flipped, oblique, anisotropic, anywhere."""
    shape = tuple(draw(st.integers(4, 18)) for _ in range(3))
    edges = [draw(st.floats(0.4, 3.0)) for _ in range(3)]
    angles = [draw(st.floats(-0.8, 0.8)) for _ in range(3)]
    order, signs = draw(st.sampled_from(ORIENTATIONS))
    rotation = nib.eulerangles.euler2mat(*angles)[:, list(order)] * signs
    return shape, nib.affines.from_matvec(rotation * edges, [draw(st.floats(-300, 300)) for _ in range(3)])


@settings(max_examples=25)
@given(grid=grids(), forms=st.sampled_from(["both", "qform", "sform"]), kind=st.sampled_from([1, 2]))
def test_output_has_the_geometry_of_the_input_to_the_last_digit(tiny, tmp_path, grid, forms, kind):
    shape, affine = grid
    image = (nib.Nifti1Image, nib.Nifti2Image)[kind - 1](hippocampus(shape, affine)[0], None)
    image.header.set_xyzt_units("mm", "sec")
    if forms != "sform":
        image.set_qform(affine, code="aligned")
    if forms != "qform":
        image.set_sform(affine, code="mni")
    nib.save(image, tmp_path / "scan.nii")
    written = nib.load(tiny.predict(tmp_path / "scan.nii").save(tmp_path / "out", picture=False))
    source = nib.load(tmp_path / "scan.nii")
    assert written.shape == shape
    assert type(written.header) is type(source.header)
    for field in PLACE_FIELDS:
        assert written.header[field].tobytes() == source.header[field].tobytes(), field
    assert written.header["pixdim"][:4].tobytes() == source.header["pixdim"][:4].tobytes()
    np.testing.assert_array_equal(written.affine, source.affine)


@settings(max_examples=10)
@given(grid=grids(), suffix=st.sampled_from([".mha", ".nrrd"]))
def test_itk_geometry_to_the_last_digit(tiny, tmp_path, grid, suffix):
    shape, affine = grid
    image = sitk.GetImageFromArray(hippocampus(shape, affine)[0].transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(edges.tolist())
    image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, path)
    source = sitk.ReadImage(path)
    written = sitk.ReadImage(tiny.predict(path).save(tmp_path / "out", name=suffix[1:], picture=False))
    assert written.GetSize() == source.GetSize()
    assert written.GetOrigin() == source.GetOrigin()
    assert written.GetSpacing() == source.GetSpacing()
    assert written.GetDirection() == source.GetDirection()
