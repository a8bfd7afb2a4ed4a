"""Class probabilities beside the labels: on the same grid, of one mind with them, calibrated where the bundle is."""

from __future__ import annotations

import csv
import json
import shutil
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd
from scipy.stats import entropy as scipy_entropy

import medkit
from medkit.data import find_cases
from medkit.errors import UsageError
from medkit.inference.run import RunOptions, predict_cases
from medkit.inference.soft_outputs import check_probabilities
from medkit.transforms.calibration import at_boundary
from medkit.transforms.native_labels import NativeLabelsd
from tests.inference.lateral import with_steps
from tests.phantoms import OBLIQUE, PLAIN, SHAPE, hippocampus, write_hippocampus
from tests.tiny_bundle import edit_json, other_weights
from tests.traced_memory import peak_bytes, peak_tensor_bytes

IMAGE, _ = hippocampus(affine=PLAIN)
STRETCHED = np.diag([0.6, 1.2, 0.8, 1.0])
TURNED = nib.affines.from_matvec(nib.eulerangles.euler2mat(-0.16, 0.09, 0.21) * (0.7, 1.3, 2.0), (7, -20, 3))


@pytest.fixture(scope="module")
def calibrated_root(tiny_root, tmp_path_factory):
    return with_temperature(shutil.copytree(tiny_root, tmp_path_factory.mktemp("calibrated") / "bundle"))


@pytest.fixture(scope="module")
def calibrated(calibrated_root):
    return medkit.load(calibrated_root)


def with_temperature(root):
    calibration = {"temperature": 3.0}
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(calibration=calibration))
    return root


def test_a_temperature_softens_probabilities_at_boundaries_and_changes_no_label(tiny, calibrated):
    plain = tiny.predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    calibrated = calibrated.predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    assert np.array_equal(calibrated.labels, plain.labels)
    unsure = at_boundary(torch.from_numpy(plain.labels.astype(np.int64))).numpy()
    assert 0 < unsure.sum() < unsure.size
    logits = np.log(plain.probabilities)
    expected = torch.from_numpy(np.where(unsure, logits / 3, logits)).softmax(0).numpy()
    np.testing.assert_allclose(calibrated.probabilities, expected, atol=1e-4)
    assert calibrated.uncertainty.entropy[unsure].mean() > plain.uncertainty.entropy[unsure].mean()


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"flips": "LR"}, "mirror images are averaged"),
        ({"weights": ["model.pt"]}, "other weights are loaded"),
        ({"weights": ["model.pt", "other.pt"]}, "other weights are loaded"),
        ({"calibrate": False}, "calibration is switched off"),
    ],
    ids=["flips", "weights", "ensemble", "switched off"],
)
def test_a_temperature_is_applied_to_nothing_that_it_was_not_fitted_to(
    calibrated_root, tiny_root, tmp_path, differs, why
):
    if "weights" in differs:
        there = {
            "model.pt": tiny_root / "models" / "model.pt",
            "other.pt": other_weights(tiny_root, tmp_path / "other.pt"),
        }
        differs = {"weights": [there[name] for name in differs["weights"]]}
    bundle, plain = (medkit.load(root, **differs) for root in (calibrated_root, tiny_root))
    found = bundle.predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    expected = plain.predict(IMAGE, PLAIN, probabilities=True, uncertainty=True)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.uncertainty.entropy, expected.uncertainty.entropy)
    assert bundle.provenance["calibration"] == {"temperature": 3.0, "applied": False}
    (note,) = {*found.notes} - {*expected.notes}
    assert note.startswith("probabilities and entropy are not calibrated: a temperature of 3.00 was fitted")
    assert note.endswith(why)
    assert not {*bundle.predict(IMAGE, PLAIN).notes} - {*expected.notes}, "nothing soft was asked for"


def test_steps_that_know_no_temperature_are_not_said_to_apply_it(calibrated_root, tmp_path):
    root = shutil.copytree(calibrated_root, tmp_path / "bundle")
    bundle = medkit.load(with_steps(root, {"softmax": True}, {"argmax": True}))
    assert bundle.provenance["calibration"] == {"temperature": 3.0, "applied": False}
    assert "has no NativeLabelsd" in bundle.predict(IMAGE, PLAIN, probabilities=True).notes[-1]


def test_the_report_has_the_temperature(calibrated_root, tiny, tmp_path):
    write_hippocampus(tmp_path / "in.nii.gz")
    cases, options = find_cases([tmp_path / "in.nii.gz"]), RunOptions(uncertainty=True, pictures=False)
    schema = json.loads((files("medkit") / "schemas" / "case.schema.json").read_text())
    for name, bundle, expected in (
        ("calibrated", medkit.load(calibrated_root), {"temperature": 3.0, "applied": True}),
        (
            "switched off",
            medkit.load(calibrated_root, calibrate=False),
            {"temperature": 3.0, "applied": False},
        ),
        ("mirrored", medkit.load(calibrated_root, flips="LR"), {"temperature": 3.0, "applied": False}),
        ("plain", tiny, None),
    ):
        predict_cases(bundle, cases, tmp_path / name, options)
        (record,) = json.loads((tmp_path / name / "report.json").read_text())["cases"]
        assert record.get("calibration") == expected
        with (tmp_path / name / "uncertainty.csv").open() as table:
            said = {row["calibrated"] for row in csv.DictReader(table)}
        assert said == {"yes" if expected and expected["applied"] else "no"}
        assert not list(Draft202012Validator(schema).iter_errors(record))


@pytest.mark.parametrize("affine", [STRETCHED, TURNED, OBLIQUE], ids=["stretched", "turned", "oblique"])
def test_resampled_probabilities_are_of_one_mind_with_the_labels(tiny, calibrated, affine):
    plain = tiny.predict(IMAGE, affine, probabilities=True)
    found = calibrated.predict(IMAGE, affine, probabilities=True, uncertainty=True)
    assert len(np.unique(found.labels)) > 1
    np.testing.assert_array_equal(found.labels, plain.labels)
    np.testing.assert_array_equal(found.probabilities.argmax(0), found.labels)
    unsure = at_boundary(torch.from_numpy(found.labels.astype(np.int64))).numpy()
    np.testing.assert_array_equal(found.probabilities[:, ~unsure], plain.probabilities[:, ~unsure])
    entropy = scipy_entropy(found.probabilities, base=3, axis=0)
    np.testing.assert_allclose(found.uncertainty.entropy, entropy, atol=1e-3)
    for value, name in found.label_names.items():
        structure = found.uncertainty.structures[name]
        expected = found.probabilities[value].sum(dtype=np.float64) * found.grid.voxel_volume_ml
        assert structure.expected_ml == pytest.approx(expected, rel=1e-6)
        if (found.labels == value).any():
            assert structure.mean_entropy == pytest.approx(entropy[found.labels == value].mean(), abs=1e-3)


def test_written_probabilities_are_those_of_the_result(calibrated, tmp_path):
    result = calibrated.predict(IMAGE, TURNED, probabilities=True)
    labels = nib.load(result.save(tmp_path, picture=False))
    written = nib.load(tmp_path / "probabilities" / "image.nii.gz")
    np.testing.assert_array_equal(
        np.moveaxis(written.get_fdata(dtype=np.float32), -1, 0), result.probabilities
    )
    np.testing.assert_array_equal(written.get_fdata().argmax(-1), labels.get_fdata())
    np.testing.assert_array_equal(written.affine, labels.affine)


def test_all_classes_are_never_held_on_the_grid_of_the_file(calibrated_root, tmp_path):
    """Neither as tensors nor as arrays, from the image to the file."""
    bundle, classes = medkit.load(calibrated_root, overrides={"spacing": [4.0, 4.0, 4.0]}), 30
    bundle.network = torch.nn.Conv3d(1, classes, 1)
    bundle.output_format = {"num_channels": classes}
    assert bundle.temperature == 3.0
    image = np.random.default_rng(0).random((56, 48, 40), dtype=np.float32)
    one = image.size * 4

    def run():
        result = bundle.predict(image, np.eye(4), probabilities=True, uncertainty=True)
        result.save(tmp_path, picture=False)

    bundle.predict(image[:8], np.eye(4), probabilities=True)  # what is loaded once is not counted
    assert peak_tensor_bytes(run) < 14 * one
    assert peak_bytes(run) < 14 * one
    assert nib.load(tmp_path / "probabilities" / "image.nii.gz").shape == (*image.shape, classes)


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
    native, raw = (NativeLabelsd("pred", Compose([]), "image", softmax=softmax) for softmax in (True, False))
    check_probabilities([native], "the bundle")
    check_probabilities([activation, raw], "the bundle")
    for steps, got in (
        ([raw], "none of them"),
        ([back, labels], "Invertd, AsDiscreted"),
        ([], "none of them"),
    ):
        with pytest.raises(
            UsageError, match=f"^the bundle: expected NativeLabelsd with softmax, .* got {got}; ask for no"
        ):
            check_probabilities(steps, "the bundle")
