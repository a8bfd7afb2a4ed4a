"""The page of features shows what works, on the bundle that it names made tiny."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import medkit
from tests.phantoms import write_hippocampus
from tests.test_readme import blocks
from tests.tiny_brains import NAME, make_tiny_brains

PAGE = "docs/brain_features.md"


def test_what_is_shown_works(tmp_path, monkeypatch):
    root, load = make_tiny_brains(tmp_path), medkit.load
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(medkit, "load", lambda name, **options: load({NAME: root}[name], **options))
    write_hippocampus(tmp_path / "scan.nii.gz")
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
