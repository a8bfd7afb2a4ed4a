"""An image that is no good is one failed case, told in one line, and stops no other."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.cli import main
from tests.cli.predict.answers import files, records
from tests.phantoms import OBLIQUE, hippocampus, nifti, patched, write_hippocampus

IMAGE, _ = hippocampus()
FLOAT = IMAGE.astype(np.float32)


def with_header(path: Path, **fields) -> None:
    write_hippocampus(path)
    patched(path, **fields)


def with_affine(path: Path, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(IMAGE, None)
    image.header.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def with_voxel(path: Path, value: float) -> None:
    array = FLOAT.copy()
    array[3, 3, 3] = value
    nib.save(nifti(array), path)


def cut_short(path: Path) -> None:
    nib.save(nifti(FLOAT), path)
    path.write_bytes(path.read_bytes()[:-500])


def disagreeing(path: Path) -> None:
    image = nifti(IMAGE)
    image.set_qform(OBLIQUE @ np.diag([1, 1, -1, 1]), code="scanner")
    nib.save(image, path)


def flat_nrrd(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE[:, :, 0]), path)


SINGULAR = OBLIQUE.copy()
SINGULAR[:3, 2] = SINGULAR[:3, 1]
FAULTS = {
    "nan.nii": (lambda path: with_voxel(path, np.nan), "voxels-not-finite"),
    "infinite.nii.gz": (lambda path: with_voxel(path, np.inf), "voxels-not-finite"),
    "slice.nii": (lambda path: nib.save(nifti(IMAGE[:, :, 0]), path), "not-3d"),
    "one_slice.nii": (lambda path: nib.save(nifti(IMAGE[:, :, :1]), path), "not-3d"),
    "slice.nrrd": (flat_nrrd, "not-3d"),
    "two_channels.nii": (lambda path: nib.save(nifti(np.stack([IMAGE] * 2, -1)), path), "wrong-channels"),
    "zero_spacing.nii": (lambda path: with_affine(path, OBLIQUE @ np.diag([0, 1, 1, 1])), "spacing-absurd"),
    "black.nii": (lambda path: nib.save(nifti(IMAGE * 0), path), "image-constant"),
    "metres.nii": (lambda path: with_header(path, xyzt_units=1), "units-not-mm"),
    "huge_spacing.nii": (lambda path: with_affine(path, np.diag([1, 1, 1e4, 1])), "spacing-absurd"),
    "singular.nii": (lambda path: with_affine(path, SINGULAR), "affine-singular"),
    "affine_nan.nii": (lambda path: with_header(path, srow_x=np.nan), "affine-not-finite"),
    "forms.nii": (disagreeing, "forms-disagree"),
    "empty.nii": (lambda path: with_header(path, dim=[3, 13, 0, 9, 1, 1, 1, 1]), "empty-volume"),
    "complex.nii": (lambda path: nib.save(nifti(FLOAT.astype(np.complex64)), path), "voxels-not-numeric"),
    "short.nii": (cut_short, "file-truncated"),
    "text.nii.gz": (lambda path: path.write_text("no image"), "file-unreadable"),
    "garbage.nii.gz": (lambda path: path.write_bytes(gzip.compress(b"\x07" * 999)), "file-unreadable"),
    "link.nii": (lambda path: path.symlink_to("nowhere.nii"), "file-missing"),
    "scan [1] [red].nii": (lambda path: with_voxel(path, np.nan), "voxels-not-finite"),
}


def case_name(file: str) -> str:
    return file.removesuffix(".gz").rpartition(".")[0] if file != "slice.nrrd" else "nrrd/slice"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A folder with every fault in a file of its own, and no good file."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "nrrd").mkdir()
    for name, (write, _) in FAULTS.items():
        write(folder / ("nrrd" if name.endswith(".nrrd") else "") / name)
    return folder


@pytest.fixture(scope="module")
def mixed(tiny, faulty, tmp_path_factory):
    """The faulty files, a missing one and two good ones in one run: exit code, errors, and results folder."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(faulty, folder / "images", symlinks=True)
    for name in ("a_good", "z_good"):
        write_hippocampus(folder / "images" / f"{name}.nii.gz")
    listed = [
        str(path) for path in sorted((folder / "images").rglob("*.*")) if path.is_symlink() or path.is_file()
    ]
    (folder / "list.json").write_text(json.dumps([*listed, str(folder / "images" / "missing.nii.gz")]))
    with redirect_stderr(io.StringIO()) as errors, pytest.raises(SystemExit) as stopped:
        main(["predict", str(tiny), str(folder / "list.json"), "-o", str(folder / "out")])
    return stopped.value.code, errors.getvalue(), folder / "out"


def test_bad_cases_do_not_stop_the_good(mixed):
    code, _, output = mixed
    found = records(output)
    assert code == 3
    assert {name for name, record in found.items() if record["status"] == "done"} == {"a_good", "z_good"}
    assert len(found) == len(FAULTS) + 3
    assert files(output / "labels") == ["a_good.nii.gz", "z_good.nii.gz"]
    assert files(output / "pictures") == ["a_good.png", "z_good.png"]


@pytest.mark.parametrize(("file", "reason"), [(name, code) for name, (_, code) in FAULTS.items()])
def test_each_fault_is_one_line_that_says_what_and_why(mixed, file, reason):
    _, errors, output = mixed
    record = records(output)[case_name(file)]
    assert record["code"] == reason
    assert file in record["reason"]
    assert "expected" in record["reason"]
    assert "got" in record["reason"]
    assert [line for line in errors.splitlines() if record["reason"] in line] == [
        f"failed {record['reason']}"
    ]


def test_missing_file_of_a_list_is_one_failed_case(mixed):
    record = records(mixed[2])["missing"]
    assert record["code"] == "file-missing"
    assert record["input"][0]["sha256"] is None


def test_nothing_but_failures_and_the_progress_is_printed(mixed):
    lines = [line for line in mixed[1].splitlines() if line.strip()]
    assert [line.split()[0] for line in lines] == ["memory:", *["failed"] * (len(FAULTS) + 1), "segmenting"]


def test_none_succeeded(tiny, faulty, call, tmp_path):
    code, out, errors = call("predict", tiny, faulty, "-o", tmp_path / "out")
    assert code == 4
    assert f"0 done, 0 finished before, {len(FAULTS)} failed" in out
    assert "label maps" not in out
    assert sum(line.startswith("failed") for line in errors) == len(FAULTS)
    kinds = {file.split("/")[0] for file in files(tmp_path / "out")}
    assert kinds == {"cases", "report.json", "volumes.csv"}


def test_image_that_does_not_fit_into_memory(call, tiny, image, tmp_path, monkeypatch):
    monkeypatch.setattr("medkit.inference.run.free_memory", lambda: 1 << 16)
    code, _, errors = call("predict", tiny, image, "-o", tmp_path / "out")
    assert code == 4
    assert records(tmp_path / "out")["scan"]["code"] == "too-large"
    assert "13 x 11 x 9 voxels of 1.2 x 0.9 x 1.7 mm, which takes about" in errors[1]
