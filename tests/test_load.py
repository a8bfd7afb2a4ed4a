"""``medkit.load``: a bundle from a name or a folder, ready to predict."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

import medkit
from tests.phantoms import write_hippocampus
from tests.tiny_bundle import make_tiny_bundle


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


def test_import_is_light():
    import subprocess
    import sys

    script = (
        "import sys, medkit; print([m for m in ('torch', 'monai', 'numpy', 'click') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
