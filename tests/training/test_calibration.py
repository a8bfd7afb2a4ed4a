"""The temperature: found where it is known, fitted to other folds than it is judged by, and taken from a real run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medkit.errors import UsageError
from medkit.training.calibration import HeldOut, calibrate, cross_fitted_calibration, fit_temperature
from medkit.training.run import create_run


def overconfident(by: float, seed: int, count: int = 20_000) -> HeldOut:
    """Logits ``by`` times as large, at boundaries, as those that the labels were drawn from."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 3, generator=draw) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    drawn = torch.arange(count) % 4 > 0
    near = torch.arange(count) % 5 > 0
    return HeldOut(torch.where(drawn[:, None], logits * by, logits), labels, drawn, drawn, near)


def perfect(spread: float, seed: int, rows: int = 20_000) -> HeldOut:
    """Rows of 40 voxels whose boundary lies ``spread`` voxels about where it is drawn, with probabilities to match."""
    draw = np.random.default_rng(seed)
    drawn, centres = draw.uniform(15, 25, (rows, 1)), np.arange(40) + 0.5
    reference = draw.normal(drawn, spread)
    inside = norm.cdf(centres - drawn, scale=spread)
    logits = np.log(np.stack([1 - inside, inside], -1).clip(1e-12))
    near_drawn, near_reference = (np.abs(centres - np.rint(edge)) for edge in (drawn, reference))
    found = HeldOut(
        *map(torch.from_numpy, (logits, (centres > reference).astype(int))),
        *map(torch.from_numpy, (near_drawn < 1, near_drawn < 2, near_reference < 2)),
    )
    return HeldOut(*(part.flatten(0, 1) for part in found))


@pytest.mark.parametrize("by", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(by):
    assert fit_temperature([overconfident(by, 0), overconfident(by, 1)]) == pytest.approx(by, rel=0.05)


def test_each_fold_is_judged_by_the_temperature_of_the_others():
    folds = [overconfident(2.0, 0), overconfident(2.0, 1), overconfident(4.0, 2)]
    found = cross_fitted_calibration(folds)
    expected = [fit_temperature([folds[j] for j in range(3) if j != i]) for i in range(3)]
    assert found["folds"] == pytest.approx(expected, abs=1e-4)
    assert found["folds"][2] == pytest.approx(2.0, rel=0.05)
    assert found["temperature"] == pytest.approx(fit_temperature(folds), abs=1e-4)
    assert found["near_reference"]["voxels"] == 48_000
    assert found["near_drawn"]["voxels"] == 45_000


def test_errors_fall_for_the_overconfident():
    found = cross_fitted_calibration([overconfident(2.0, seed) for seed in range(3)])
    for near in (found["near_drawn"], found["near_reference"]):
        assert near["before"]["ece"] > 0.05
        assert near["after"]["ece"] < 0.01
        assert near["after"]["nll"] < near["before"]["nll"]


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0, 3.0])
def test_perfect_probabilities_are_left_alone_however_unsure_they_are(spread):
    found = cross_fitted_calibration([perfect(spread, seed) for seed in range(2)])
    assert found["temperature"] == pytest.approx(1, abs=0.1)
    assert found["near_drawn"]["before"]["ece"] < 0.01
    assert found["near_drawn"]["after"]["ece"] < 0.01


def test_near_the_reference_even_perfect_probabilities_seem_wrong():
    """Why the figure over voxels that the prediction chooses is the one to go by."""
    found = cross_fitted_calibration([perfect(2.0, seed) for seed in range(2)])
    assert found["near_reference"]["before"]["ece"] > 0.05


def test_networks_that_draw_no_boundary_are_refused():
    none = torch.zeros(10, dtype=torch.bool)
    blank = [HeldOut(torch.zeros(10, 2), torch.arange(10) % 2, none, none, ~none) for _ in range(2)]
    with pytest.raises(UsageError, match="expected networks that draw a boundary in held-out cases"):
        cross_fitted_calibration(blank)


def test_logits_that_tell_nothing_get_the_last_temperature():
    draw = torch.Generator().manual_seed(0)
    every = torch.ones(1000, dtype=torch.bool)
    nothing = HeldOut(torch.randn(1000, 3, generator=draw), torch.arange(1000) % 3, every, every, every)
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
    for near in (found["near_drawn"], found["near_reference"]):
        assert near["voxels"] > 1000
        assert near["before"] != near["after"]
    assert found == calibrate(run)
