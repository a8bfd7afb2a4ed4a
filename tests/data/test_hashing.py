"""Hashes are those of sha256sum, and cover voxels that lie in a file of their own."""

from __future__ import annotations

import hashlib

import pytest

from medkit.data.hashing import hash_files, hash_image

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_hash_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"d" * 3_000_000)
    assert hash_files([tmp_path / "a"]) == ABC
    both = hashlib.sha256(b"abc" + b"d" * 3_000_000).hexdigest()
    assert hash_files([tmp_path / "a", tmp_path / "b"]) == both


def test_files_that_cannot_be_read_have_no_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_files([tmp_path / "a", tmp_path / "none"]) is None
    assert hash_files([tmp_path]) is None


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd", "a.unknown"])
def test_image_in_one_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"abc")
    assert hash_image(tmp_path / name) == ABC


@pytest.mark.parametrize("name", ["a.mhd", "a.MHA"])
def test_image_whose_voxels_lie_elsewhere(tmp_path, name):
    (tmp_path / name).write_text("ElementDataFile = voxels.raw\n")
    assert hash_image(tmp_path / name) is None
    for voxels in (b"abc", b"abd"):
        (tmp_path / "voxels.raw").write_bytes(voxels)
        expected = hashlib.sha256(b"ElementDataFile = voxels.raw\n" + voxels).hexdigest()
        assert hash_image(tmp_path / name) == expected


def test_a_damaged_header_may_name_what_is_no_path(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"ElementDataFile = a\0b.raw\n")
    assert hash_image(tmp_path / "a.mha") is None
