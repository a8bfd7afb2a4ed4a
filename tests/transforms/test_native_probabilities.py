"""Probabilities class by class: MONAI's interpolation, of one mind with the labels at every voxel, softened or not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import CenterSpatialCropd, Compose, Orientationd

from medkit.transforms.calibration import at_boundary
from medkit.transforms.native_labels import NativeLabelsd
from tests.phantoms import SHAPE
from tests.traced_memory import peak_tensor_bytes
from tests.transforms.monai_way import monai_probabilities
from tests.transforms.test_native_labels import grids, preprocessed, spacing, with_scores


def labels_and_probabilities(transform, item, temperature=None):
    step = NativeLabelsd("pred", transform, "image", softmax=True)
    labels = step(item)["pred"]
    found = step.probabilities(item, "pred", labels, temperature)
    return labels[0].as_tensor().long(), found


def softened(probabilities, labels, temperature):
    unsure = at_boundary(labels)
    assert unsure.any(), "or nothing is tried"
    return torch.where(unsure, (probabilities.log() / temperature).softmax(0), probabilities)


@pytest.mark.parametrize("options", [{}, {"diagonal": True}], ids=["straight", "turned"])
@pytest.mark.parametrize("temperature", [None, 1.8])
def test_probabilities_are_those_of_monai(options, temperature):
    transform = Compose([Orientationd("image", axcodes="LPS", labels=None), spacing(**options)])
    item = with_scores(preprocessed(transform))
    labels, found = labels_and_probabilities(transform, item, temperature)
    assert found.shape == (4, *SHAPE)
    assert len(found) == 4
    expected = torch.as_tensor(monai_probabilities(item, transform)).float()
    if temperature:
        expected = softened(expected, labels, temperature)
    stacked = torch.stack(list(found))
    torch.testing.assert_close(stacked, expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(stacked.sum(0), torch.ones(SHAPE))
    assert torch.equal(stacked, torch.stack(list(found))), "as often as wanted"
    assert item["pred"].shape[1:] == item["image"].shape[1:], "the item is left as it was"


@settings(max_examples=60)
@given(
    grid=grids(),
    diagonal=st.booleans(),
    temperature=st.one_of(st.none(), st.floats(0.3, 5)),
    ties=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_the_likeliest_class_is_the_label_everywhere(grid, diagonal, temperature, ties, dtype):
    transform = Compose([Orientationd("image", axcodes="LPS", labels=None), spacing(diagonal=diagonal)])
    item = with_scores(preprocessed(transform, *grid))
    item["pred"] = (item["pred"].round() if ties else item["pred"]).to(dtype)
    labels, found = labels_and_probabilities(transform, item, temperature)
    stacked = torch.stack(list(found))
    assert torch.equal(stacked.argmax(0), labels)
    assert stacked.dtype == torch.float32
    torch.testing.assert_close(stacked.sum(0), torch.ones(labels.shape))


@pytest.mark.parametrize("temperature", [None, 1.8])
def test_what_was_cropped_is_certainly_background(temperature):
    transform = Compose([CenterSpatialCropd("image", (7, 8, 6)), spacing()])
    labels, found = labels_and_probabilities(transform, with_scores(preprocessed(transform)), temperature)
    stacked = torch.stack(list(found))
    assert torch.equal(stacked.argmax(0), labels)
    torch.testing.assert_close(stacked.sum(0), torch.ones(SHAPE))
    assert stacked[0, 0].min() == 1


def test_classes_are_not_held_together_on_the_grid_of_the_file():
    transform, classes = Compose([spacing((3.0, 3.0, 3.0))]), 24
    item = with_scores(preprocessed(transform, (48, 40, 36)), classes)
    step = NativeLabelsd("pred", transform, "image", softmax=True)
    labels = step(item)["pred"]

    def each():
        for _ in step.probabilities(item, "pred", labels, 1.8):
            pass

    one = 48 * 40 * 36 * 4
    assert one < peak_tensor_bytes(lambda: torch.ones(48, 40, 36).exp()) < 2.5 * one, "what is counted"
    assert peak_tensor_bytes(each) < 10 * one
    found = step.probabilities(item, "pred", labels, 1.8)
    assert peak_tensor_bytes(lambda: list(found)) > classes * one
