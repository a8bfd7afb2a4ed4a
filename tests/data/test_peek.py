"""A header gives shape, spacing and channels without a voxel, and the files that hold the voxels."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data.peek import peek_channels, source_files
from medkit.data.reading import read_channels
from medkit.errors import CaseError
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti

IMAGE, _ = hippocampus()


def write(path, array=IMAGE):
    suffix = "".join(path.suffixes)
    if suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        image = sitk.GetImageFromArray(np.moveaxis(array, [0, 1, 2], [2, 1, 0]), isVector=array.ndim == 4)
        image.SetSpacing(np.linalg.norm(OBLIQUE[:3, :3], axis=0).tolist())
        sitk.WriteImage(image, path)
    elif suffix.startswith((".img", ".hdr")):
        nib.save(nifti(array, kind=nib.Nifti1Pair), path)
    elif suffix == ".mgz":
        nib.save(nib.MGHImage(array, OBLIQUE), path)
    else:
        nib.save(nifti(array), path)
    return path


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.img", "a.hdr.gz", "a.mgz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_peek_agrees_with_reading(tmp_path, name, channels):
    path = write(tmp_path / name, IMAGE if channels == 1 else np.stack([IMAGE] * channels, axis=-1))
    volume = read_channels([path])
    grid, found = peek_channels([path])
    assert grid.shape == volume.grid.shape == SHAPE
    np.testing.assert_allclose(grid.spacing, volume.grid.spacing, rtol=1e-6)
    assert found == channels
    assert volume.array.shape[3:] == ((channels,) if channels > 1 else ())


def test_a_header_that_nobody_filled_in_states_no_size(tmp_path):
    nib.save(nib.Nifti1Image(IMAGE, None), tmp_path / "a.nii.gz")
    assert peek_channels([tmp_path / "a.nii.gz"])[0].spacing_mm is None
    assert read_channels([tmp_path / "a.nii.gz"]).grid.spacing_mm is None


def test_one_file_per_channel(tmp_path):
    paths = [write(tmp_path / f"{number}.nii") for number in range(4)]
    assert peek_channels(paths)[1] == read_channels(paths).array.shape[3] == 4


def test_axes_of_length_one_are_no_channels(tmp_path):
    path = write(tmp_path / "a.nii", IMAGE[..., None])
    assert peek_channels([path])[1] == 1


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.txt"])
def test_file_that_is_no_image(tmp_path, name):
    (tmp_path / name).write_text("no image")
    assert peek_channels([tmp_path / name]) is None
    assert peek_channels([tmp_path / f"missing_{name}"]) is None


def test_image_that_reading_will_refuse(tmp_path):
    write(tmp_path / "flat.nii", IMAGE[..., 0])
    assert peek_channels([tmp_path / "flat.nii"]) is None
    nib.save(nib.Nifti1Image(IMAGE, np.diag([1e5, 1, 1, 1])), tmp_path / "absurd.nii")
    assert peek_channels([tmp_path / "absurd.nii"]) is None


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.nrrd", "a.mha"])
def test_header_that_claims_more_than_the_file_can_hold(tmp_path, name):
    path = write(tmp_path / name)
    with pytest.raises(CaseError) as caught:
        read_channels([claim(path)])
    assert caught.value.code == "file-truncated"
    assert peek_channels([path]) is None


def claim(path):
    """The same file with a header that says 30000 voxels along each axis."""
    opened = gzip.open if path.suffix in (".gz", ".mgz") else open
    with opened(path, "rb") as file:
        content = file.read()
    shape = " ".join(map(str, SHAPE)).encode()
    content = content.replace(b"sizes: " + shape, b"sizes: 30000 30000 30000")
    content = content.replace(b"DimSize = " + shape, b"DimSize = 30000 30000 30000")
    form = ">3i" if path.suffix == ".mgz" else "<3h"
    content = content.replace(struct.pack(form, *SHAPE), struct.pack(form, 30000, 30000, 30000), 1)
    with opened(path, "wb") as file:
        file.write(content)
    return path


@pytest.mark.parametrize("damage", [b"", b"\x07" * 999])
def test_damage_is_not_remarked_on(tmp_path, capfd, damage):
    for name in ("a.nrrd", "a.mha", "a.nhdr"):
        (tmp_path / name).write_bytes(b"NRRD0004\n" + damage)
        assert peek_channels([tmp_path / name]) is None
    assert capfd.readouterr().err == ""


def names(path):
    return [file.name for file in source_files(path)]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.mgz"])
def test_whole_in_one_file(tmp_path, name):
    assert names(write(tmp_path / name)) == [name]


def test_header_and_voxels_in_two(tmp_path):
    write(tmp_path / "p.img")
    assert sorted(names(tmp_path / "p.img")) == sorted(names(tmp_path / "p.hdr")) == ["p.hdr", "p.img"]
    assert names(tmp_path / "p.hdr")[0] == "p.hdr"
    write(tmp_path / "q.img.gz")
    assert sorted(names(tmp_path / "q.hdr.gz")) == ["q.hdr.gz", "q.img.gz"]
    write(tmp_path / "m.mhd")
    assert names(tmp_path / "m.mhd") == ["m.mhd", "m.raw"]
    write(tmp_path / "n.nhdr")
    assert names(tmp_path / "n.nhdr")[0] == "n.nhdr"
    assert all(file.is_file() for file in source_files(tmp_path / "n.nhdr"))
    assert len(source_files(tmp_path / "n.nhdr")) == 2


@pytest.mark.parametrize(
    ("header", "renamed"),
    [
        ("脳.nhdr", "脳.nhdr"),
        ("a.nhdr", "b.nrrd"),
        ("a.nhdr", "a.NHDR"),
        ("脳.mhd", "脳.mhd"),
        ("a.mhd", "b.mha"),
    ],
)
def test_detached_voxels_are_found_whatever_the_header_is_called(tmp_path, header, renamed):
    path = write(tmp_path / header).rename(tmp_path / renamed)
    (voxels,) = set(tmp_path.iterdir()) - {path}
    np.testing.assert_array_equal(read_channels([path]).array, IMAGE)
    assert source_files(path) == [path, voxels]


@pytest.mark.parametrize("line", ["ElementDataFile : m.raw", "  ElementDataFile=m.raw "])
def test_metaimage_header_as_freely_written_as_itk_reads_it(tmp_path, line):
    write(tmp_path / "m.mhd")
    text = (tmp_path / "m.mhd").read_text().replace("NDims =", "NDims:")
    (tmp_path / "m.mhd").write_text(text.replace("ElementDataFile = m.raw", line))
    np.testing.assert_array_equal(read_channels([tmp_path / "m.mhd"]).array, IMAGE)
    assert names(tmp_path / "m.mhd") == ["m.mhd", "m.raw"]


@pytest.mark.parametrize(("header", "voxels"), [("p.hdr", "p.img"), ("p.hdr.gz", "p.img.gz")])
def test_pair_in_capitals(tmp_path, header, voxels):
    write(tmp_path / voxels)
    for name in (header, voxels):
        (tmp_path / name).rename(tmp_path / name.upper())
    header, voxels = header.upper(), voxels.upper()
    np.testing.assert_array_equal(read_channels([tmp_path / header]).array, IMAGE)
    assert names(tmp_path / header) == [header, voxels]
    assert names(tmp_path / voxels) == [voxels, header]


def test_affine_that_spm_keeps_beside_an_analyze_image(tmp_path):
    nib.save(nib.Spm99AnalyzeImage(IMAGE, OBLIQUE), tmp_path / "s.img")
    np.testing.assert_allclose(read_channels([tmp_path / "s.hdr"]).grid.affine, OBLIQUE)
    assert names(tmp_path / "s.hdr") == ["s.hdr", "s.img", "s.mat"]


def test_list_of_files_and_series(tmp_path):
    (tmp_path / "l.nhdr").write_text("NRRD0004\nsizes: 1 1 2\ndata file: LIST 2\nOne.raw\nÅ.raw\n")
    assert names(tmp_path / "l.nhdr") == ["l.nhdr", "One.raw", "Å.raw"]
    (tmp_path / "l.mha").write_text("NDims = 3\nElementDataFile = LIST\none.raw\ntwo.raw\n")
    assert names(tmp_path / "l.mha") == ["l.mha", "one.raw", "two.raw"]
    (tmp_path / "s.mhd").write_text("NDims = 3\nElementDataFile = s%03d.raw 1 1000000000 1\n")
    assert len(source_files(tmp_path / "s.mhd")) == 2
    assert not source_files(tmp_path / "s.mhd")[1].exists()
    assert names(tmp_path / "missing.mhd") == ["missing.mhd"]
