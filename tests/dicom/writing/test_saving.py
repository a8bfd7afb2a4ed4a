"""Files are written whole or not at all, and carry no preamble of others."""

from __future__ import annotations

import pytest
from pydicom import dcmread

from medkit.dicom.writing.saving import save
from tests.dicom.writing.oracles import read_back


def test_a_preamble_of_others_does_not_travel(oblique, tmp_path):
    path = oblique.volume.frames[0].path
    assert path.read_bytes()[:2] == b"MZ"
    save(dcmread(path), tmp_path / "made.dcm")
    assert read_back(tmp_path / "made.dcm").SOPInstanceUID == oblique.header.SOPInstanceUID


def test_what_cannot_be_written_leaves_nothing(oblique, tmp_path):
    dataset = dcmread(oblique.volume.frames[0].path)
    (tmp_path / "made.dcm").write_bytes(b"before")
    dataset.Rows = 2**20  # more than 16 bits hold
    with pytest.raises(Exception, match=r"0028,\s?0010"):
        save(dataset, tmp_path / "made.dcm")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
