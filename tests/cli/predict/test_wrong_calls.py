"""A call that cannot be done is refused in one line, before anything is written."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.predict.answers import refused
from tests.tiny_bundle import edit_json


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
        ("clean_up::largest_component=[7]", "expected labels out of 1, 2, got 7"),
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


def test_mistyped_axes(call, tiny, image, tmp_path):
    line = refused(call, tiny, image, "-o", tmp_path / "out", "--flips", "LR,XY")
    assert line == (
        "medkit: --flips LR,XY: expected axes of the body, LR, AP, SI, with commas between, got XY; LR suits most "
        "networks"
    )
