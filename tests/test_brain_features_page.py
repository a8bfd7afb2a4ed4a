"""The page of features shows what works, on the bundle that it names made tiny."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import medkit
from tests.phantoms import write_hippocampus
from tests.test_readme import blocks
from tests.tiny_bundle import SOURCE, edit_json, save_weights

PAGE = "docs/brain_features.md"
NAME = "brain_anatomy_segmentation"


def make_tiny(config: dict) -> None:
    config["network_def"]["network"].update(filters=[8, 12], strides=[2])
    config.update(patch_size=[32, 32, 32])
    # Random weights find no brain.
    config["postprocessing"]["transforms"].remove("@expected")


@pytest.fixture
def tiny_brains(tmp_path, monkeypatch):
    """The bundle under its own name, of few filters and random weights, where a scan lies."""
    root = shutil.copytree(
        SOURCE.parent / NAME, tmp_path / NAME, ignore=shutil.ignore_patterns("models", "__pycache__")
    )
    edit_json(root / "configs" / "inference.json", make_tiny)
    save_weights(root)
    monkeypatch.chdir(tmp_path)
    write_hippocampus(tmp_path / "scan.nii.gz")
    load = medkit.load
    monkeypatch.setattr(medkit, "load", lambda name, **options: load({NAME: root}[name], **options))


def test_what_is_shown_works(tiny_brains):
    torch.manual_seed(0)
    made: dict = {}
    shown = blocks(PAGE, "python")
    assert len(shown) == 9
    for number, block in enumerate(shown):
        exec(compile(block, f"{PAGE}, block {number}", "exec"), made)
        if number == 0:
            assert made["features"].array.shape[0] == 8
            assert made["features"].grid.spacing == pytest.approx((2, 2, 2))
        if number == 1:
            assert made["features"].shape == (1, 8, 24, 24, 24)
    for task in ("synthesis", "segmentation", "bias_field", "residual"):
        losses = made[f"{task}_losses"]
        assert sum(losses[-2:]) < 0.8 * sum(losses[:2]), f"{task}: the layer learns"
    assert made["as_t1"].shape[2:] == made["scan"].shape[1:]
    assert Path("t1_layer.pt").stat().st_size < 10_000
    image = torch.randn(1, 1, 32, 32, 32)
    assert torch.equal(made["again"](image), made["synthesis"](image))
