"""The page of features shows what works, on the bundle that it names made tiny."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import medkit
from tests.phantoms import nifti, write_hippocampus
from tests.test_readme import blocks
from tests.tiny_brains import NAME, make_tiny_brains

PAGE = "docs/brain_features.md"


def test_what_is_shown_works(tmp_path, monkeypatch):
    root, load = make_tiny_brains(tmp_path), medkit.load
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(medkit, "load", lambda name, **options: load({NAME: root}[name], **options))
    labels = write_hippocampus(tmp_path / "scan.nii.gz")
    turned = nib.orientations.axcodes2ornt("PSR")
    scan = nib.load(tmp_path / "scan.nii.gz")
    other = nifti(1000 - np.asanyarray(scan.dataobj), scan.affine)
    nib.save(other.as_reoriented(turned), tmp_path / "t1.nii.gz")
    nib.save(nifti(labels, scan.affine).as_reoriented(turned), tmp_path / "labels.nii.gz")
    torch.manual_seed(0)
    made: dict = {}
    shown = blocks(PAGE, "python")
    assert len(shown) == 10
    for number, block in enumerate(shown):
        exec(compile(block, f"{PAGE}, block {number}", "exec"), made)
        if number == 0:
            assert made["features"].array.shape[0] == 8
            assert made["features"].grid.spacing == pytest.approx((2, 2, 2))
        if number == 1:
            assert made["features"].shape == (1, 8, 24, 24, 24)
    what_is_wanted_lies_on_the_scans_grid(
        made, voxels=np.count_nonzero(labels) * np.prod(scan.header.get_zooms())
    )
    for task in ("synthesis", "segmentation", "bias_field", "residual"):
        losses = made[f"{task}_losses"]
        assert sum(losses[-2:]) < 0.8 * sum(losses[:2]), f"{task}: the layer learns"
    assert made["as_t1"].shape[2:] == made["scan"].shape[1:]
    assert Path("t1_layer.pt").stat().st_size < 10_000
    image = torch.randn(1, 1, 32, 32, 32)
    assert torch.equal(made["again"](image), made["synthesis"](image))


def what_is_wanted_lies_on_the_scans_grid(made: dict, voxels: float) -> None:
    """The other image is the negative, its axes in another order; labels keep their volume, in voxels of 1 mm."""
    ((image, wanted),) = made["own_pairs"]
    assert image.shape == wanted.shape == (1, *made["scan"].shape)
    assert made["labels_there"].shape == made["scan"].shape
    assert torch.corrcoef(torch.stack([image.flatten(), wanted.flatten()]))[0, 1] < -0.95
    assert (made["labels_there"] > 0).sum() == pytest.approx(voxels, rel=0.1)
    assert set(made["labels_there"].unique().tolist()) == {0, 1, 2}
