"""``medkit.load``: a bundle from a name or a folder, ready to predict."""

from __future__ import annotations

import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import medkit
from medkit.bundle.store import BundleFolder
from medkit.errors import UsageError
from tests.phantoms import write_hippocampus
from tests.tiny_bundle import edit_json, make_tiny_bundle


def test_load_predict_save(tmp_path, monkeypatch):
    root = make_tiny_bundle(tmp_path)
    write_hippocampus(tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    bundle = medkit.load(root)
    result = bundle.predict("scan.nii.gz")
    path = result.save("out")
    assert path.as_posix() == "out/labels/scan.nii.gz"
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), result.labels)
    assert result.label_names == {1: "anterior hippocampus", 2: "posterior hippocampus"}
    assert result.volumes_ml.keys() == {"anterior hippocampus", "posterior hippocampus"}
    assert all(seconds >= 0 for seconds in result.seconds.values())
    assert (tmp_path / "out" / "pictures" / "scan.png").is_file()
    assert (tmp_path / "out" / "report.json").is_file()


def test_loading_a_bundle_of_medkit_by_name():
    bundle = medkit.load("hippocampus_segmentation_unet", device="cpu", overrides={"inferer::overlap": 0.25})
    assert bundle.inferer.overlap == (0.25,) * 3 or bundle.inferer.overlap == 0.25
    assert bundle.device == torch.device("cpu")
    assert not bundle.network.training


def test_a_folder_wins_over_the_bundle_of_its_name(tmp_path, monkeypatch):
    own = make_tiny_bundle(tmp_path).rename(tmp_path / "hippocampus_segmentation_unet")
    monkeypatch.chdir(tmp_path)
    assert medkit.load(Path("./hippocampus_segmentation_unet")).folder.root == own


def test_loading_leaves_the_random_numbers_of_the_caller_alone():
    """The bundle seeds all of them: it calls ``set_determinism`` to initialise."""

    def seed():
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    def draw():
        return random.random(), np.random.random(), float(torch.rand(()))

    seed()
    expected = draw()
    seed()
    medkit.load("hippocampus_segmentation_unet")
    assert draw() == expected


def test_a_device_for_a_bundle_that_has_no_place_for_one(tmp_path):
    root = make_tiny_bundle(tmp_path)
    path = root / "configs" / "inference.json"
    path.write_text(path.read_text().replace("@device", "@place"))
    edit_json(path, lambda config: config.update(place=config.pop("device")))
    with pytest.raises(
        UsageError, match=r"^--device cpu: expected a 'device' in .*inference\.json"
    ) as caught:
        medkit.load(root, device="cpu")
    assert "leave --device out" in str(caught.value)
    assert medkit.load(root, overrides={"place": "$torch.device('cpu')"}).network is not None


def test_weights_from_elsewhere_are_part_of_the_identity(tmp_path):
    root = make_tiny_bundle(tmp_path / "bundle")
    other = tmp_path / "other.pt"
    overrides = {"checkpointloader::load_path": str(other)}
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    digests = [medkit.load(root).digest]
    for factor in (1, 2):
        torch.save({name: value * factor for name, value in weights.items()}, other)
        digests.append(medkit.load(root, overrides=overrides).digest)
    assert len(set(digests)) == 3
    assert digests[0] == BundleFolder(root).digest()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hippocampus_segmentation", {}, "did you mean 'hippocampus_segmentation_unet'"),
        ("hippocampus_segmentation_unet", {"overrides": {"inferer::overlp": 1}}, "did you mean 'overlap'"),
        ("hippocampus_segmentation_unet", {"device": "cuda:99"}, "cannot be used here"),
        ("hippocampus_segmentation_unet", {"device": "nonsense"}, "cannot be used here"),
    ],
)
def test_what_cannot_be_loaded(name, options, message):
    with pytest.raises(UsageError, match=message):
        medkit.load(name, **options)


def test_import_is_light():
    import subprocess
    import sys

    script = (
        "import sys, medkit; print([m for m in ('torch', 'monai', 'numpy', 'click') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
