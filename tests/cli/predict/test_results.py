"""What a call writes and prints, and what a second one does with that."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

from medkit.cli.predict import show_notes
from tests.cli.predict.answers import files, records, refused
from tests.phantoms import nifti, write_hippocampus
from tests.tiny_bundle import edit_json, save_weights


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
    assert rows[0] == "case,anterior hippocampus (ml),posterior hippocampus (ml),notes"
    assert [row.split(",")[0] for row in rows[1:]] == ["one/a", "one/deep/b", "three/d", "two/m", "two/n"]
    assert errors[0].startswith("memory: 0.3 GiB at the peak")


def test_remarks_are_told_the_commonest_first(capsys):
    noted = [["the same", "the same", f"of {number} alone"] if number else [] for number in range(7)]
    show_notes([SimpleNamespace(record={"notes": notes}) for notes in noted])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("remarks     on 6 of them; those of each are in volumes.csv")
    assert [line.strip() for line in lines] == [
        *("- the same (6 cases)", *(f"- of {number} alone" for number in range(1, 5)), "- and 2 others")
    ]


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


def test_memory_that_is_freed_is_kept(call, tiny, image, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("medkit.cli.predict.keep_freed_memory", lambda: asked.append(True))
    assert call("predict", tiny, image, "-o", tmp_path / "out", "--no-pictures")[0] == 0
    assert asked == [True]


def test_features_of_a_network_that_has_none(call, tiny, image, tmp_path):
    assert "expected a network that gives its features" in refused(
        call, tiny, image, "-o", tmp_path / "out", "--features"
    )
    assert not (tmp_path / "out").exists()


def test_features_arrive(call, tiny, image, tmp_path):
    network = {
        "_target_": "medkit.networks.subvoxel_unet.SubvoxelUNet",
        **{"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "filters": [6, 8], "strides": [2]},
    }
    root = shutil.copytree(tiny, tmp_path / "blocks")
    edit_json(root / "configs" / "inference.json", lambda config: config.update(network_def=network))
    save_weights(root)
    code, out, _ = call("predict", root, image, "-o", tmp_path / "out", "--features", "--no-pictures")
    assert code == 0
    assert f"features    {tmp_path / 'out' / 'features'}" in out
    found = nib.load(tmp_path / "out" / records(tmp_path / "out")["scan"]["outputs"]["features"])
    assert found.shape[3] == 6
    np.testing.assert_allclose(found.header.get_zooms()[:3], [2, 2, 2], rtol=1e-5)


def test_empty_results_are_counted_and_noted(call, tiny, tmp_path):
    """A rule takes away what there is in one image of three, which is tiny."""
    rng = np.random.default_rng(0)
    for name, shape in (("a", (13, 11, 9)), ("b", (13, 11, 9)), ("two_voxels", (2, 2, 2))):
        nib.save(nifti(rng.normal(0, 9, shape).astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii")
    options = ["--set", "clean_up::minimum_mm3=9", "--no-pictures"]
    code, out, _ = call("predict", tiny, tmp_path, "-o", tmp_path / "out", *options)
    assert code == 0
    assert "\nempty       1 of them: no voxel was labelled\n" in out
    found = records(tmp_path / "out")
    assert found["two_voxels"]["notes"][-1] == "no voxel was labelled: the result is empty"
    assert not {0.0} & {max(found[name]["volumes_ml"].values()) for name in "ab"}
    assert "no voxel was labelled" not in str(found["a"])
    out = call("predict", tiny, tmp_path, "-o", tmp_path / "out", *options)[1]
    assert "\nempty       1 of them" in out, "it is as empty as before"


def test_arrays_beside_images_are_told_of(call, tiny, image, tmp_path):
    np.savez(image.parent / "[b].npz", image=np.zeros((4, 4, 4)))
    code, out, err = call("predict", tiny, image.parent, "-o", tmp_path / "out", "--no-pictures")
    assert (code, out.splitlines()[0]) == (0, "1 done, 0 finished before, 0 failed")
    assert err[0].startswith(f"left out {image.parent}: [b].npz: of a folder with other images, .npz files")


def test_second_call_skips_and_force_does_not(call, tiny, image, tmp_path):
    assert "1 done" in call("predict", tiny, image, "-o", tmp_path / "out")[1]
    assert "0 done, 1 finished before" in call("predict", tiny, image, "-o", tmp_path / "out")[1]
    assert "1 done, 0 finished before" in call("predict", tiny, image, "-o", tmp_path / "out", "--force")[1]


def test_other_weights_at_the_same_place_are_not_finished(call, tiny, image, tmp_path):
    weights = torch.load(tiny / "models" / "model.pt", weights_only=True)
    arguments = [tiny, image, "-o", tmp_path / "out", "--set"]
    arguments.append(f"checkpointloader::load_path={tmp_path / 'weights.pt'}")
    for factor, expected in ((1, "1 done, 0 finished"), (2, ""), (1, "0 done, 1 finished")):
        torch.save({name: value * factor for name, value in weights.items()}, tmp_path / "weights.pt")
        assert expected in call("predict", *arguments)[1] if expected else refused(call, *arguments)


def test_results_of_other_settings_are_replaced_on_demand_alone(call, tiny, image, tmp_path):
    output = ["-o", tmp_path / "out"]
    assert call("predict", tiny, image, *output, "--probabilities", "--uncertainty")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    line = refused(call, tiny, image, *output, "--flips", "LR")
    assert (
        "expected no results of other settings, got those of 'scan' (flips none, now LR); choose another"
        in line
    )
    line = refused(call, tiny, image, *output, "--no-calibration", "--set", "inferer::overlap=0.25")
    assert "(overrides none, now inferer::overlap=0.25); choose another" in line
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before
    assert "0 done, 1 finished" in call("predict", tiny, image, *output)[1]
    assert "1 done" in call("predict", tiny, image, *output, "--flips", "LR", "--force")[1]
    assert files(tmp_path / "out" / "probabilities") == []


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


def test_uncertainty_arrives(call, tiny, image, tmp_path):
    code, out, _ = call("predict", tiny, image, "-o", tmp_path / "out", "--uncertainty")
    assert code == 0
    assert f"uncertainty {tmp_path / 'out' / 'uncertainty.csv'}" in out
    assert files(tmp_path / "out" / "uncertainty") == ["scan.nii.gz"]
    rows = (tmp_path / "out" / "uncertainty.csv").read_text().splitlines()
    assert rows[0].startswith("case,structure,volume (ml),expected volume (ml),mean entropy,")
    assert len(rows) == 3


def test_networks_of_a_training_arrive(call, tiny, image, tmp_path):
    weights = torch.load(tiny / "models" / "model.pt", weights_only=True)
    for fold in (0, 1):
        (tmp_path / "run" / f"fold{fold}").mkdir(parents=True)
        torch.save(
            {name: value * (1 + fold) for name, value in weights.items()},
            tmp_path / "run" / f"fold{fold}" / "model.pt",
        )
    output = ["-o", tmp_path / "out"]
    code, out, _ = call("predict", tiny, image, *output, "--ensemble", tmp_path / "run")
    assert code == 0
    assert (
        "\nremarks     on 1 of them; those of each are in volumes.csv and in the report:\n            - "
        in out
    )
    assert [Path(file["path"]).parent.name for file in records(tmp_path / "out")["scan"]["weights"]] == [
        *("fold0", "fold1")
    ]
    files = [word for fold in (0, 1) for word in ("--weights", tmp_path / "run" / f"fold{fold}" / "model.pt")]
    assert "0 done, 1 finished" in call("predict", tiny, image, *output, *files)[1]
    both = refused(call, tiny, image, *output, "--ensemble", tmp_path / "run", *files)
    assert both.startswith("medkit: --ensemble and --weights: expected one of them, got both")
    assert "got 0" in refused(call, tiny, image, *output, "--ensemble", tmp_path / "nowhere")
