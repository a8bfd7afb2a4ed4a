"""Mirror images in a training: structures change their side, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from medkit.errors import UsageError
from medkit.transforms.lateral_flip import RandLateralFlipd

PAIRS = [[1, 2], [5, 4]]


def flip(prob: float = 1.0) -> RandLateralFlipd:
    return RandLateralFlipd(["image", "label"], ["label"], PAIRS, prob)


def item() -> dict[str, MetaTensor]:
    labels = torch.tensor([[0, 1, 1], [3, 3, 0], [2, 5, 4], [0, 0, 2]])[None, :, :, None]
    return {"image": MetaTensor(torch.arange(12.0).view(1, 4, 3, 1)), "label": MetaTensor(labels)}


def test_structures_change_their_side():
    found = flip()(item())
    assert found["label"][0, :, :, 0].tolist() == [[0, 0, 1], [1, 4, 5], [3, 3, 0], [0, 2, 2]]
    assert torch.equal(found["image"], item()["image"].flip(1))


def test_the_given_item_stays_as_it_is():
    given_item = item()
    flip()(given_item)
    assert torch.equal(given_item["label"], item()["label"])


def test_twice_is_not_at_all():
    once = flip()(item())
    twice = flip()(once)
    assert all(torch.equal(twice[key], item()[key]) for key in once)


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_image_and_labels_are_turned_together_or_not_at_all(seed):
    step = flip(0.5).set_random_state(seed)
    found = step(item())
    turned = torch.equal(found["image"], item()["image"].flip(1))
    assert turned is not torch.equal(found["image"], item()["image"])
    assert turned is not torch.equal(found["label"], item()["label"])


def test_it_is_as_frequent_as_asked_for():
    step = flip(0.3).set_random_state(0)
    turned = sum(not torch.equal(step(item())["image"], item()["image"]) for _ in range(500))
    assert 110 < turned < 190


@pytest.mark.parametrize("pairs", [[[1, 2], [2, 3]], [[1]], [[1, 1]]], ids=str)
def test_pairs_that_are_none(pairs):
    with pytest.raises(UsageError, match="pairs: expected two label values each, each value once"):
        RandLateralFlipd(["image", "label"], ["label"], pairs)


def test_a_label_map_that_would_not_be_turned():
    with pytest.raises(UsageError, match=r"label_keys: expected some of \['image'\], got \['label'\]"):
        RandLateralFlipd("image", ["label"], PAIRS)
