"""The temperature: found where it is known, fitted to other folds than it is judged by, and taken from a real run."""

from __future__ import annotations

import pytest
import torch

from medkit.training.calibration import HeldOut, calibrate, fit_temperature, nested_calibration
from medkit.training.run import create_run


def overconfident(by: float, seed: int, count: int = 20_000) -> HeldOut:
    """Logits ``by`` times as large, at boundaries, as those that the labels were drawn from."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 3, generator=draw) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    drawn = torch.arange(count) % 4 > 0
    return HeldOut(
        torch.where(drawn[:, None], logits * by, logits), labels, drawn, torch.arange(count) % 5 > 0
    )


@pytest.mark.parametrize("by", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(by):
    assert fit_temperature([overconfident(by, 0), overconfident(by, 1)]) == pytest.approx(by, rel=0.05)


def test_each_fold_is_judged_by_the_temperature_of_the_others():
    folds = [overconfident(2.0, 0), overconfident(2.0, 1), overconfident(4.0, 2)]
    found = nested_calibration(folds)
    expected = [fit_temperature([folds[j] for j in range(3) if j != i]) for i in range(3)]
    assert found["folds"] == pytest.approx(expected, abs=1e-4)
    assert found["folds"][2] == pytest.approx(2.0, rel=0.05)
    assert found["temperature"] == pytest.approx(fit_temperature(folds), abs=1e-4)
    assert found["voxels"] == 48_000


def test_errors_fall_for_the_overconfident():
    found = nested_calibration([overconfident(2.0, seed) for seed in range(3)])
    assert found["before"]["ece"] > 0.05
    assert found["after"]["ece"] < 0.01
    assert found["after"]["nll"] < found["before"]["nll"]


def test_logits_that_tell_nothing_get_the_last_temperature():
    draw = torch.Generator().manual_seed(0)
    every = torch.ones(1000, dtype=torch.bool)
    nothing = HeldOut(torch.randn(1000, 3, generator=draw), torch.arange(1000) % 3, every, every)
    assert fit_temperature([nothing]) == pytest.approx(10, rel=0.01)


def test_a_run_is_calibrated_on_the_cases_that_each_network_never_saw(tmp_path, small, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    overrides = {**small, "epochs": 1}
    run = create_run(
        "hippocampus_segmentation_unet", tmp_path, overrides=overrides, name="cv", cross_validate=True
    )
    run.train()
    found = calibrate(run)
    assert len(found["folds"]) == 3
    assert found["voxels"] > 1000
    assert found["before"] != found["after"]
    assert found == calibrate(run)
