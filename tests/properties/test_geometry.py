"""On any grid, what goes in comes out on it to the last digit, and a label stays where it was painted."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.data import decollate_batch, list_data_collate

from medkit.data import read_volume, write_labels
from medkit.data.checks import check_nifti_header
from medkit.data.monai_io import GRID_KEY
from medkit.errors import CaseError
from tests.monai_round_trip import there_and_back
from tests.phantoms import NAMES, paint, world

FIELDS = [
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
]
FORMS = {"both": (1, 1), "both, other codes": (2, 4), "qform": (1, 0), "sform": (0, 3), "neither": (0, 0)}

shapes = st.tuples(*[st.integers(4, 12)] * 3)
angles = st.floats(-np.pi, np.pi)


@st.composite
def affines(draw, shear=False):
    """Any permutation, flip, rotation and anisotropic spacing, with or without shear."""
    axes = np.eye(3)[:, draw(st.permutations(range(3)))] @ np.diag(
        draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    )
    turn = nib.eulerangles.euler2mat(*draw(st.one_of(st.just((0, 0, 0)), st.tuples(angles, angles, angles))))
    edges = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    skew = np.eye(3)
    if shear:
        skew[np.triu_indices(3, 1)] = draw(st.tuples(*[st.floats(-0.4, 0.4)] * 3))
    origin = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return nib.affines.from_matvec(turn @ axes @ np.diag(edges) @ skew, origin)


def write_nifti(path: Path, array, affine, kind, form, strip_shears=False) -> None:
    image = kind(array, None)
    image.header.set_qform(affine, int(FORMS[form][0]), strip_shears=strip_shears)
    image.header.set_sform(affine, FORMS[form][1])
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def empty(folder: Path) -> Path:
    """A fresh folder for each example."""
    shutil.rmtree(folder / "example", ignore_errors=True)
    (folder / "example").mkdir()
    return folder / "example"


def labelled_by_itk(path):
    """Millimetres (RAS) of label 1 as ITK sees them, in array order."""
    image = sitk.ReadImage(path)
    index = np.argwhere(sitk.GetArrayFromImage(image).transpose(2, 1, 0) == 1)
    places = [image.TransformIndexToPhysicalPoint(place.tolist()) for place in index]
    return np.array(places).reshape(-1, 3) * [-1, -1, 1]


def labelled_by_nibabel(path):
    image = nib.load(path)
    return nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj) == 1))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("form", FORMS)
@given(shape=shapes, affine=affines())
def test_nifti(tmp_path, kind, form, shape, affine):
    folder = empty(tmp_path)
    write_nifti(folder / "in.nii", np.zeros(shape, np.int16), affine, kind, form)
    source = read_volume(folder / "in.nii")
    labels = paint(shape, source.grid.affine)
    write_labels(folder / "out.nii", labels, source.grid, NAMES)

    before, after = nib.load(folder / "in.nii").header, nib.load(folder / "out.nii").header
    assert type(before) is type(after)
    for name in FIELDS:
        assert before[name].tobytes() == after[name].tobytes(), name
    assert before["pixdim"][:4].tobytes() == after["pixdim"][:4].tobytes()
    assert before["xyzt_units"] == after["xyzt_units"]

    result = read_volume(folder / "out.nii")
    assert result.grid == source.grid
    np.testing.assert_array_equal(result.array, labels)
    painted = world(shape, source.grid.affine)[labels == 1]
    np.testing.assert_array_equal(labelled_by_nibabel(folder / "out.nii"), painted)
    if form != "neither":
        # Near half a turn a quaternion of three singles leaves a thousandth open.
        np.testing.assert_allclose(source.grid.affine, affine, atol=0.01)
    if form != "neither" and kind is nib.Nifti1Image:  # ITK takes another side, and cannot read NIfTI-2
        np.testing.assert_allclose(labelled_by_itk(folder / "out.nii"), painted, atol=0.1)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@given(shape=shapes, affine=affines(shear=True))
def test_sheared_nifti(tmp_path, kind, shape, affine):
    """Only an sform can hold shear."""
    folder = empty(tmp_path)
    write_nifti(folder / "in.nii", np.zeros(shape, np.int16), affine, kind, "sform", strip_shears=True)
    source = read_volume(folder / "in.nii")
    labels = paint(shape, source.grid.affine)
    write_labels(folder / "out.nii", labels, source.grid, NAMES)
    result = read_volume(folder / "out.nii")
    assert result.grid == source.grid
    np.testing.assert_array_equal(result.array, paint(shape, result.grid.affine))
    np.testing.assert_allclose(result.grid.affine, affine, atol=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@given(
    shape=st.tuples(*[st.integers(2, 1024)] * 3),
    affine=affines(),
    tilt=st.tuples(*[st.floats(-0.003, 0.003)] * 3),
    shift=st.integers(0, 2),
)
@example(  # a long edge of thick voxels, near half a turn
    shape=(323, 2, 2),
    affine=np.array([[-3, 0, 0, 0], [0, 0, -0.3125, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]),
    tilt=(-0.0012118345623991689, -0.0005307472865081053, 0.0),
    shift=0,
)
def test_forms_of_one_affine_agree_and_of_two_do_not(kind, shape, affine, tilt, shift):
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(*tilt)) @ affine
    header = kind()
    header.set_data_shape(shape)
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    check_nifti_header(header, "scan")
    affine[shift, 3] += 2 * max(header.get_zooms()) + 0.003 * np.linalg.norm(
        np.multiply(shape, header.get_zooms())
    )
    header.set_sform(affine, 1)
    with pytest.raises(CaseError, match="scan: expected qform and sform to agree"):
        check_nifti_header(header, "scan")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@given(shape=shapes, affine=affines(shear=True))
def test_itk_formats(tmp_path, suffix, shape, affine):
    folder = empty(tmp_path)
    lps = np.diag([-1, -1, 1, 1]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.Image(shape, sitk.sitkInt16)
    image.SetSpacing(edges.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
    sitk.WriteImage(image, folder / f"in{suffix}")
    source = read_volume(folder / f"in{suffix}")
    labels = paint(shape, source.grid.affine)
    write_labels(folder / f"out{suffix}", labels, source.grid, NAMES)

    before, after = sitk.ReadImage(folder / f"in{suffix}"), sitk.ReadImage(folder / f"out{suffix}")
    assert before.GetOrigin() == after.GetOrigin()
    assert before.GetSpacing() == after.GetSpacing()
    assert before.GetDirection() == after.GetDirection()

    result = read_volume(folder / f"out{suffix}")
    assert result.grid == source.grid
    np.testing.assert_array_equal(result.array, labels)
    np.testing.assert_allclose(source.grid.affine, affine, atol=1e-9)
    painted = world(shape, affine)[labels == 1]
    np.testing.assert_allclose(labelled_by_itk(folder / f"out{suffix}"), painted, atol=1e-6)


@pytest.mark.parametrize("space", ["right-anterior-superior", "LPS", "left-anterior-superior"])
@given(affine=affines())
def test_nrrd_of_other_spaces(tmp_path, space, affine):
    """The header lines stay as they were, and ITK still finds the same place."""
    folder, shape = empty(tmp_path), (5, 4, 6)
    vectors = [f"({','.join(map(repr, column))})" for column in affine[:3].T.tolist()]
    header = (
        f"NRRD0004\ntype: uchar\ndimension: 3\nspace: {space}\nsizes: 5 4 6\n"
        f"space directions: {' '.join(vectors[:3])}\nencoding: raw\nspace origin: {vectors[3]}\n\n"
    )
    (folder / "in.nrrd").write_bytes(header.encode() + bytes(120))
    source = read_volume(folder / "in.nrrd")
    write_labels(folder / "out.nrrd", np.ones(shape, np.uint8), source.grid, NAMES)
    assert read_volume(folder / "out.nrrd").grid == source.grid
    written = (folder / "out.nrrd").read_bytes().partition(b"\n\n")[0].decode().splitlines()
    assert {line for line in header.splitlines() if line.startswith("space")} < set(written)
    signs = {"r": 1, "l": -1, "L": -1}[space[0]], -1 if space == "LPS" else 1
    np.testing.assert_allclose(source.grid.affine, np.diag([*signs, 1, 1]) @ affine, atol=1e-9)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@settings(max_examples=25)
@given(shape=shapes, affine=affines(), spacing=st.sampled_from([1, 1.5]))
def test_through_monai(tmp_path, suffix, shape, affine, spacing):
    folder = empty(tmp_path)
    scan = folder / f"scan{suffix}"
    image = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    if suffix == ".nii.gz":
        write_nifti(scan, image, affine, nib.Nifti1Image, "both")
    else:
        from medkit.data import write_volume
        from medkit.data.grid import Grid

        write_volume(scan, image, Grid(shape, affine))
    there, back = there_and_back(spacing, folder / "out", suffix)
    source = read_volume(scan)
    batch = list_data_collate([there({"image": scan})])
    batch["pred"] = (batch["image"] > image.mean()).float()
    for item in decollate_batch(batch):
        assert item["image"].meta[GRID_KEY] == source.grid.to_json()
        inverted = back(item)["pred"]
        assert inverted.meta[GRID_KEY] == source.grid.to_json()
        np.testing.assert_allclose(inverted.affine, source.grid.affine, atol=1e-6)
    (out,) = (folder / "out").iterdir()
    result = read_volume(out)
    assert result.grid == source.grid
    np.testing.assert_array_equal(result.array, inverted[0])
