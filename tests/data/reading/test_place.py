"""Where the voxels lie: what the header leaves open is noted, and what it says is kept."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data.grid import SIDE_UNKNOWN_NOTE, SIZE_UNKNOWN_NOTE, Grid
from medkit.data.reading import read_volume, volume_from_nibabel
from tests.data.reading.files import IMAGE, LABELS, edited, header, itk_image, write_image
from tests.phantoms import OBLIQUE, nifti, patched


def test_what_must_be_taken_on_trust_is_noted(tmp_path):
    path = patched(write_image(tmp_path / "a.nii"), xyzt_units=0, qform_code=0, sform_code=0)
    assert not read_volume(path).grid.side_known
    assert [note.split(":")[0] for note in read_volume(path).notes] == [
        "the header states no unit of length; taken as millimetres",
        "qform and sform are both unset",
    ]
    nib.save(nib.AnalyzeImage(IMAGE, None), tmp_path / "b.img")
    assert "side is unknown" in read_volume(tmp_path / "b.img").notes[0]
    assert not read_volume(tmp_path / "b.img").grid.side_known
    raw = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 3 3\nspacings: 1 1 2\nencoding: raw\n\n" + bytes(27)
    (tmp_path / "c.nrrd").write_bytes(raw)
    assert "side are unknown" in read_volume(tmp_path / "c.nrrd").notes[0]
    assert not read_volume(tmp_path / "c.nrrd").grid.side_known


def test_a_header_that_nobody_filled_in_tells_no_size(tmp_path):
    nib.save(nib.Nifti1Image(IMAGE, None), path := tmp_path / "bare.nii")
    bare = read_volume(path)
    assert bare.grid.spacing_mm is None
    assert not bare.grid.side_known
    assert bare.notes == (SIZE_UNKNOWN_NOTE, SIDE_UNKNOWN_NOTE)
    told = {"xyzt_units": 2}, {"pixdim": [1, 1, 1, 2, 1, 1, 1, 1]}, {"sform_code": 1, "srow_z": [0, 0, 1, 0]}
    for number, changes in enumerate(told):
        nib.save(nib.Nifti1Image(IMAGE, None), path := tmp_path / f"{number}.nii")
        whole = (
            {"srow_x": [1, 0, 0, 0], "srow_y": [0, 1, 0, 0], **changes}
            if "sform_code" in changes
            else changes
        )
        assert read_volume(patched(path, **whole)).grid.size_known, changes


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.mgz"])
@pytest.mark.parametrize("form", ["qform_code", "sform_code"])
def test_the_side_is_known_where_a_header_tells_it(tmp_path, name, form):
    image = read_volume(patched(write_image(tmp_path / "source.nii"), **{form: 0}))
    assert image.grid.side_known
    assert read_volume(write_image(tmp_path / name)).grid.side_known
    assert read_volume(tmp_path / name).notes == ()


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_nrrd_space_that_does_not_say_where_left_is(tmp_path, space):
    path = edited("a.nrrd", b"left-posterior-superior", space.encode())(tmp_path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE)
    assert not volume.grid.side_known
    assert volume.notes == (
        f"the header's space is '{space}', not an anatomical one: orientation and side are unknown",
    )


def metaimage(path, *fields: bytes):
    lines = [b"NDims = 3", b"DimSize = 3 3 3", b"ElementSpacing = 1 1 2", *fields]
    path.write_bytes(
        b"\n".join([*lines, b"ElementType = MET_UCHAR", b"ElementDataFile = LOCAL\n"]) + bytes(27)
    )
    return path


@pytest.mark.parametrize("told", [b"TransformMatrix = 1 0 0 0 1 0 0 0 1", b"AnatomicalOrientation = RAI"])
def test_metaimage_that_says_which_way_its_axes_run(tmp_path, told):
    assert read_volume(metaimage(tmp_path / "a.mha", told)).grid.side_known


@pytest.mark.parametrize("fields", [[], [b"AnatomicalOrientation = ???"], [b"Offset = 1 2 3"]], ids=str)
def test_metaimage_that_does_not(tmp_path, fields):
    volume = read_volume(metaimage(tmp_path / "a.mha", *fields))
    assert not volume.grid.side_known
    assert volume.notes == (
        "the header does not say which way its axes run: orientation and side are unknown",
    )


def test_gipl_knows_no_side(tmp_path):
    sitk.WriteImage(itk_image(), tmp_path / "a.gipl")
    volume = read_volume(tmp_path / "a.gipl")
    assert not volume.grid.side_known
    assert volume.notes == ("GIPL headers hold no directions: orientation and side are unknown",)


@pytest.mark.parametrize("name", ["a.img", "a.gipl", "a.mha", "a.nrrd"])
def test_what_is_written_on_a_grid_of_unknown_side_does_not_claim_to_know_it(tmp_path, name):
    from medkit.data import write_labels

    path = tmp_path / name
    if name == "a.img":
        nib.save(nib.AnalyzeImage(LABELS, None), path)
    elif name == "a.gipl":
        sitk.WriteImage(itk_image(LABELS), path)
    elif name == "a.mha":
        metaimage(path)
    else:
        raw = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 3 3\nspacings: 1 1 2\nencoding: raw\n\n"
        path.write_bytes(raw + bytes(27))
    grid = read_volume(path).grid
    for suffix in {grid.suffix, ".nii.gz"}:
        written = tmp_path / f"labels{suffix}"
        write_labels(written, np.zeros(grid.shape, np.uint8), grid, {1: "one"})
        again = read_volume(written)
        assert not again.grid.side_known
        assert "side are unknown" in " ".join(again.notes)
        np.testing.assert_allclose(again.grid.affine, grid.affine, atol=1e-5)


@pytest.mark.parametrize("coded", ["both", "qform", "sform"])
def test_header_changed_in_memory_does_not_move_the_image(tmp_path, coded):
    from medkit.data import write_labels

    image = nifti(IMAGE)
    elsewhere = np.diag([2.0, 2, 2, 1]) @ OBLIQUE
    if coded != "sform":
        image.header.set_qform(elsewhere, 1 if coded == "both" else 2)
    if coded != "qform":
        image.header.set_sform(elsewhere, 1)
    if coded != "both":
        (image.header.set_sform if coded == "qform" else image.header.set_qform)(None, 0)
    volume = volume_from_nibabel(image)
    np.testing.assert_array_equal(volume.grid.affine, image.affine)
    write_labels(tmp_path / "labels.nii", LABELS, volume.grid, {})
    nib.save(image, tmp_path / "image.nii")
    for name in ("labels", "image"):
        np.testing.assert_allclose(nib.load(tmp_path / f"{name}.nii").affine, OBLIQUE, atol=2e-5)


def test_header_that_agrees_with_its_image_is_kept(tmp_path):
    nib.save(nifti(IMAGE), tmp_path / "a.nii")
    for image in (nifti(IMAGE), nib.load(tmp_path / "a.nii")):
        assert volume_from_nibabel(image).grid.nifti == Grid.nifti_fields(image.header)


def test_edges_beside_a_lone_sform_may_be_anything(tmp_path):
    path = header(pixdim=[1, 0, -1, 0, 1, 1, 1, 1], qform_code=0)(tmp_path)
    np.testing.assert_array_equal(read_volume(path).array, IMAGE)
