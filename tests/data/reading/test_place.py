"""Where the voxels lie: what the header leaves open is noted, and what it says is kept."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medkit.data.grid import Grid
from medkit.data.reading import read_volume, volume_from_nibabel
from tests.data.reading.files import IMAGE, LABELS, edited, header, write_image
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
