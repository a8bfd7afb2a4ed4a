"""Label names from JSON files and from the maps themselves."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medkit.data import Grid, write_labels
from medkit.data.label_names import label_table, read_label_names
from medkit.errors import UsageError

NAMES = {1: "anterior & <left>", 2: "größer"}


@pytest.mark.parametrize(
    "content", [{"1": "a", "0": "background"}, {"labels": {"0": "background", "1": "a"}}]
)
def test_names_from_json(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(json.dumps(content))
    assert read_label_names(path) == {1: "a"}


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", '"a"', "{}", '{"one": "a"}', '{"1": 3}', '{"labels": {"a": 1}}', '{"1": ""}']
)
def test_other_json_is_refused(tmp_path, text):
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"names\.json: expected .*label names"):
        read_label_names(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected a JSON file"):
        read_label_names(tmp_path / "none.json")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_names_come_back_as_they_were_written(tmp_path, suffix):
    path = tmp_path / f"case{suffix}"
    labels = np.ones((4, 5, 6), np.uint8)
    write_labels(path, labels, Grid(labels.shape, np.eye(4)), {0: "background", **NAMES})
    assert label_table(path) == NAMES


def test_files_without_a_table_have_no_names(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "plain.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no gzip")
    (tmp_path / "case.mha").write_bytes(b"")
    for name in ("plain.nii.gz", "broken.nii.gz", "case.mha"):
        assert label_table(tmp_path / name) == {}


@pytest.mark.parametrize("content", [b"not xml", b'<Labels><Label Key="one">a</Label></Labels>'])
def test_a_damaged_table_is_none(tmp_path, content):
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(30, content))
    nib.save(image, tmp_path / "case.nii.gz")
    assert label_table(tmp_path / "case.nii.gz") == {}
