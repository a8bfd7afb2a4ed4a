"""``medkit predict``: what it writes and prints, how it ends, and how it meets what is wrong."""

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
import torch

from medkit.cli import main
from tests.phantoms import OBLIQUE, hippocampus, nifti, write_hippocampus
from tests.tiny_bundle import edit_json, make_tiny_bundle

IMAGE, _ = hippocampus()
FLOAT = IMAGE.astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def call(capsys):
    """Run ``medkit`` in this process; return exit code, standard output and the lines of standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stopped.value.code, out, [line for line in err.splitlines() if line.strip()]

    return run


def records(output: Path) -> dict[str, dict]:
    return {record["case"]: record for record in json.loads((output / "report.json").read_text())["cases"]}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- what is wrong with an image -------------------------------------------------------------------------


def patched(path: Path, **fields) -> None:
    """Write the phantom with header fields overwritten, whatever they may then mean."""
    write_hippocampus(path)
    raw = bytearray(path.read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, buffer=raw)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(raw)


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
    "metres.nii": (lambda path: patched(path, xyzt_units=1), "units-not-mm"),
    "huge_spacing.nii": (lambda path: with_affine(path, np.diag([1, 1, 1e4, 1])), "spacing-absurd"),
    "singular.nii": (lambda path: with_affine(path, SINGULAR), "affine-singular"),
    "affine_nan.nii": (lambda path: patched(path, srow_x=np.nan), "affine-not-finite"),
    "forms.nii": (disagreeing, "forms-disagree"),
    "empty.nii": (lambda path: patched(path, dim=[3, 13, 0, 9, 1, 1, 1, 1]), "empty-volume"),
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


# --- what is wrong with the call ---------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def refused(call, *arguments) -> str:
    """The one line with which a call is refused before anything is written."""
    code, out, errors = call("predict", *arguments)
    assert (code, out, len(errors)) == (2, "", 1)
    assert errors[0].startswith("medkit: ")
    return errors[0]


def test_missing_input(call, tiny, tmp_path):
    line = refused(call, tiny, tmp_path / "scan.nii.gz", "-o", tmp_path / "out")
    assert f"{tmp_path / 'scan.nii.gz'}: expected a file or folder, got nothing there" in line
    assert not (tmp_path / "out").exists()


def test_empty_folder(call, tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused(call, tiny, tmp_path / "empty", "-o", tmp_path / "out")
    assert f"{tmp_path / 'empty'}: expected image files" in line
    assert not (tmp_path / "out").exists()


def test_unknown_bundle(call, image, tmp_path):
    assert "did you mean 'hippocampus_segmentation_unet'" in refused(
        call, "hippocampus_segmentation", image, "-o", tmp_path / "out"
    )


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("inferer::overlp=0.5", "did you mean 'overlap'?"),
        ("infererr::overlap=0.5", "did you mean 'inferer'?"),
        ("overlap", "expected key=value"),
        ("inferer::mode=gausian", "'inferer' cannot be built"),
    ],
)
def test_mistyped_override(call, tiny, image, tmp_path, override, hint):
    assert hint in refused(call, tiny, image, "-o", tmp_path / "out", "--set", override)


def test_unusable_device(call, tiny, image, tmp_path):
    assert "--device cuda:99: cannot be used here" in refused(
        call, tiny, image, "-o", tmp_path / "out", "--device", "cuda:99"
    )


@pytest.mark.parametrize("below", ["", "deeper"])
def test_output_that_is_a_file(call, tiny, image, tmp_path, below):
    (tmp_path / "taken").write_text("")
    line = refused(call, tiny, image, "-o", tmp_path / "taken" / below)
    assert f"{tmp_path / 'taken'}" in line
    assert "expected a folder" in line


def test_option_that_does_not_exist(call, tiny, image):
    assert refused(call, tiny, image, "--outptu", "x").endswith("See 'medkit predict --help'.")


def test_missing_weights(call, tiny, image, tmp_path):
    shutil.copytree(tiny, tmp_path / "bundle")
    (tmp_path / "bundle" / "models" / "model.pt").unlink()
    assert "the weights are missing" in refused(call, tmp_path / "bundle", image, "-o", tmp_path / "out")


def test_weights_of_another_network(call, tiny, image, tmp_path):
    shutil.copytree(tiny, tmp_path / "bundle")
    edit_json(
        tmp_path / "bundle" / "configs" / "inference.json",
        lambda config: config["network_def"].update(filters=[8, 8, 8, 8]),
    )
    assert "the weights do not fit the network" in refused(
        call, tmp_path / "bundle", image, "-o", tmp_path / "out"
    )


def test_packages_that_are_missing_or_old(call, tiny, image, tmp_path):
    shutil.copytree(tiny, tmp_path / "bundle")
    edit_json(
        tmp_path / "bundle" / "configs" / "metadata.json",
        lambda config: config["required_packages_version"].update(
            {"no-such-package": "3.1", "nibabel": "99.0"}
        ),
    )
    line = refused(call, tmp_path / "bundle", image, "-o", tmp_path / "out")
    assert "no-such-package 3.1 (here: not installed)" in line
    assert "pip install 'nibabel>=99.0' 'no-such-package>=3.1'" in line


def test_bundle_that_does_not_segment(call, tiny, image, tmp_path):
    shutil.copytree(tiny, tmp_path / "bundle")
    edit_json(
        tmp_path / "bundle" / "configs" / "metadata.json",
        lambda config: config["network_data_format"]["outputs"]["pred"].update(format="latent"),
    )
    assert "got an output declared as 'latent'" in refused(
        call, tmp_path / "bundle", image, "-o", tmp_path / "out"
    )


# --- what works --------------------------------------------------------------------------------------------


def test_files_folders_and_lists_in_one_call(call, tiny, tmp_path):
    for name in ("one/a.nii.gz", "one/deep/b.nii.gz", "two/c.nii", "three/d.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_hippocampus(tmp_path / name)
    sitk.WriteImage(sitk.ReadImage(tmp_path / "two/c.nii"), tmp_path / "two/n.nrrd")
    sitk.WriteImage(sitk.ReadImage(tmp_path / "two/c.nii"), tmp_path / "two/m.mha")
    (tmp_path / "list.txt").write_text("three/d.nii.gz\n")
    names = [tmp_path / "one", tmp_path / "two/n.nrrd", tmp_path / "two/m.mha", tmp_path / "list.txt"]
    code, out, errors = call("predict", tiny, *names, "-o", tmp_path / "out")
    assert code == 0
    assert "5 done, 0 finished before, 0 failed" in out
    assert files(tmp_path / "out" / "labels") == [
        *("one/a.nii.gz", "one/deep/b.nii.gz", "three/d.nii.gz", "two/m.mha", "two/n.nrrd")
    ]
    assert len(files(tmp_path / "out" / "pictures")) == 5
    rows = (tmp_path / "out" / "volumes.csv").read_text().splitlines()
    assert rows[0] == "case,anterior hippocampus (ml),posterior hippocampus (ml)"
    assert [row.split(",")[0] for row in rows[1:]] == ["one/a", "one/deep/b", "three/d", "two/m", "two/n"]
    assert errors[0].startswith("memory: 0.2 GiB at the peak")


def test_overrides_and_options_arrive(call, tiny, image, tmp_path):
    options = ["--set", "inferer::overlap=0", "--no-pictures", "--probabilities", "--device", "cpu"]
    code, out, _ = call("predict", tiny, image, "-o", tmp_path / "out", *options)
    assert code == 0
    assert "pictures" not in out
    record = records(tmp_path / "out")["scan"]
    assert record["overrides"] == {"inferer::overlap": 0}
    assert set(record["outputs"]) == {"labels", "probabilities"}
    soft = nib.load(tmp_path / "out" / record["outputs"]["probabilities"])
    labels = nib.load(tmp_path / "out" / record["outputs"]["labels"])
    np.testing.assert_array_equal(np.argmax(soft.get_fdata(), axis=-1), labels.get_fdata())
    np.testing.assert_array_equal(soft.affine, labels.affine)


def test_second_call_skips_and_force_does_not(call, tiny, image, tmp_path):
    assert "1 done" in call("predict", tiny, image, "-o", tmp_path / "out")[1]
    assert "0 done, 1 finished before" in call("predict", tiny, image, "-o", tmp_path / "out")[1]
    assert "1 done, 0 finished before" in call("predict", tiny, image, "-o", tmp_path / "out", "--force")[1]


def test_other_weights_at_the_same_place_are_not_finished(call, tiny, image, tmp_path):
    weights = torch.load(tiny / "models" / "model.pt", weights_only=True)
    arguments = [tiny, image, "-o", tmp_path / "out", "--set"]
    arguments.append(f"checkpointloader::load_path={tmp_path / 'weights.pt'}")
    for factor, expected in ((1, "1 done, 0 finished"), (2, "1 done, 0 finished"), (2, "0 done, 1 finished")):
        torch.save({name: value * factor for name, value in weights.items()}, tmp_path / "weights.pt")
        assert expected in call("predict", *arguments)[1]


def test_results_below_the_images_are_no_images(call, tiny, image, tmp_path, monkeypatch):
    monkeypatch.chdir(image.parent)
    assert "1 done, 0 finished before" in call("predict", tiny, ".", "-o", "results")[1]
    assert "0 done, 1 finished before" in call("predict", tiny, ".", "-o", "results")[1]
    assert "expected images elsewhere" in refused(call, tiny, "results/labels", "-o", "results")


def test_same_name_of_another_image_is_not_overwritten(call, tiny, tmp_path):
    for number, person in enumerate(("one", "two")):
        (tmp_path / person).mkdir()
        write_hippocampus(tmp_path / person / "T1.nii.gz", seed=number)
    assert call("predict", tiny, tmp_path / "one" / "T1.nii.gz", "-o", tmp_path / "out")[0] == 0
    line = refused(call, tiny, tmp_path / "two" / "T1.nii.gz", "-o", tmp_path / "out")
    assert f"would replace those of {tmp_path / 'one' / 'T1.nii.gz'}" in line
    assert call("predict", tiny, tmp_path / "two" / "T1.nii.gz", "-o", tmp_path / "out", "--force")[0] == 0


def test_image_that_does_not_fit_into_memory(call, tiny, image, tmp_path, monkeypatch):
    monkeypatch.setattr("medkit.inference.run.free_memory", lambda: 1 << 16)
    code, _, errors = call("predict", tiny, image, "-o", tmp_path / "out")
    assert code == 4
    assert records(tmp_path / "out")["scan"]["code"] == "too-large"
    assert "13 x 11 x 9 voxels of 1.2 x 0.9 x 1.7 mm, which takes about" in errors[1]


def test_name_in_no_known_encoding(call, tiny, tmp_path):
    name = b"M\xfcller".decode(errors="surrogateescape")
    write_hippocampus(tmp_path / "scan.nii.gz")
    (tmp_path / "images").mkdir()
    (tmp_path / "scan.nii.gz").rename(tmp_path / "images" / f"{name}.nii.gz")
    (tmp_path / "images" / f"{name} bad.nii.gz").write_text("no image")
    code, _, errors = call("predict", tiny, tmp_path / "images", "-o", tmp_path / "out")
    assert code == 3
    assert "M\\udcfcller bad.nii.gz" in errors[-2]
    assert set(records(tmp_path / "out")) == {name, f"{name} bad"}


def test_mirror_images_arrive(call, tiny, image, tmp_path):
    assert call("predict", tiny, image, "-o", tmp_path / "out", "--flips", "LR,AP")[0] == 0
    assert records(tmp_path / "out")["scan"]["flips"] == {"axes": ["LR", "AP"], "swapped": []}
    assert "0 done, 1 finished" in call("predict", tiny, image, "-o", tmp_path / "out", "--flips", "AP,LR")[1]


def test_mistyped_axes(call, tiny, image, tmp_path):
    line = refused(call, tiny, image, "-o", tmp_path / "out", "--flips", "LR,XY")
    assert line == (
        "medkit: --flips LR,XY: expected axes of the body, LR, AP, SI, with commas between, got XY; LR suits most "
        "networks"
    )


def test_uncertainty_arrives(call, tiny, image, tmp_path):
    code, out, _ = call("predict", tiny, image, "-o", tmp_path / "out", "--uncertainty")
    assert code == 0
    assert f"uncertainty {tmp_path / 'out' / 'uncertainty.csv'}" in out
    assert files(tmp_path / "out" / "uncertainty") == ["scan.nii.gz"]
    rows = (tmp_path / "out" / "uncertainty.csv").read_text().splitlines()
    assert rows[0].startswith("case,structure,volume (ml),expected volume (ml),mean entropy,")
    assert len(rows) == 3


def test_networks_of_a_training_arrive(call, tiny, image, tmp_path):
    for fold in (0, 1):
        (tmp_path / "run" / f"fold{fold}").mkdir(parents=True)
        shutil.copy(tiny / "models" / "model.pt", tmp_path / "run" / f"fold{fold}")
    output = ["-o", tmp_path / "out"]
    code, out, _ = call("predict", tiny, image, *output, "--ensemble", tmp_path / "run")
    assert code == 0
    assert "remarks     on 1 of them" in out
    assert [Path(file["path"]).parent.name for file in records(tmp_path / "out")["scan"]["weights"]] == [
        *("fold0", "fold1")
    ]
    files = [word for fold in (0, 1) for word in ("--weights", tmp_path / "run" / f"fold{fold}" / "model.pt")]
    assert "0 done, 1 finished" in call("predict", tiny, image, *output, *files)[1]
    both = refused(call, tiny, image, *output, "--ensemble", tmp_path / "run", *files)
    assert both.startswith("medkit: --ensemble and --weights: expected one of them, got both")
    assert "got 0" in refused(call, tiny, image, *output, "--ensemble", tmp_path / "nowhere")
