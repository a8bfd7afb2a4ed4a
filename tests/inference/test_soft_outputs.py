"""Class probabilities beside the labels: on the same grid, of one mind with them, calibrated where the bundle is."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd

import medkit
from medkit.errors import UsageError
from medkit.inference.soft_outputs import check_probabilities
from medkit.transforms.calibration import at_boundary
from tests.phantoms import PLAIN, SHAPE, hippocampus
from tests.tiny_bundle import edit_json

IMAGE, _ = hippocampus(affine=PLAIN)


def test_a_temperature_softens_probabilities_at_boundaries_and_changes_no_label(tiny_root, tiny, tmp_path):
    root = tmp_path / "calibrated"
    shutil.copytree(tiny_root, root)
    edit_json(
        root / "configs" / "metadata.json", lambda metadata: metadata.update(calibration={"temperature": 3.0})
    )
    plain = tiny.predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    calibrated = medkit.load(root).predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    assert np.array_equal(calibrated.labels, plain.labels)
    unsure = at_boundary(torch.from_numpy(plain.labels.astype(np.int64))).numpy()
    assert 0 < unsure.sum() < unsure.size
    logits = np.log(plain.probabilities)
    expected = torch.from_numpy(np.where(unsure, logits / 3, logits)).softmax(0).numpy()
    np.testing.assert_allclose(calibrated.probabilities, expected, atol=1e-4)
    assert calibrated.uncertainty.entropy[unsure].mean() > plain.uncertainty.entropy[unsure].mean()


def test_probabilities_on_request(tiny, labels):
    assert tiny.predict(IMAGE, PLAIN).probabilities is None
    soft = tiny.predict(IMAGE, PLAIN, probabilities=True).probabilities
    assert soft.shape == (3, *SHAPE)
    assert soft.dtype == np.float32
    np.testing.assert_array_equal(soft.argmax(axis=0), labels)
    np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-5)


def test_steps_that_give_probabilities_pass_and_others_are_named():
    activation, labels = Activationsd("pred", softmax=True), AsDiscreted("pred", argmax=True)
    back = Invertd("pred", Compose([]))
    check_probabilities([activation, back, labels], "the bundle")
    for steps, got in (([back, labels], "Invertd, AsDiscreted"), ([], "none of them")):
        with pytest.raises(
            UsageError, match=f"^the bundle: expected NativeLabelsd, .* got {got}; ask for no"
        ):
            check_probabilities(steps, "the bundle")
