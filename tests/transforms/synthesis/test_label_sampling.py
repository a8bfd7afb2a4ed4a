"""Labels between voxels: the nearest, and the vote that one-hot interpolation would give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from medkit.transforms.synthesis.label_sampling import linear_values, nearest_labels, voted_labels


def identity(size):
    ticks = [torch.arange(length, dtype=torch.float32) for length in size]
    return torch.stack(torch.meshgrid(*ticks, indexing="ij"), -1)


def some_labels(size, seed=0):
    return (
        torch.randint(0, 600, size, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
        // 150
        * 150
    )


@pytest.mark.parametrize("size", [(7, 5, 6), (16, 4, 3), (1, 2, 9)])
@pytest.mark.parametrize("sampled", [nearest_labels, voted_labels, linear_values])
def test_at_voxels_all_is_what_it_was(size, sampled):
    labels = some_labels(size)
    values = labels.float() if sampled is linear_values else labels
    assert torch.allclose(sampled(values, identity(size)).float(), labels.float(), atol=1e-2)


@pytest.mark.parametrize("sampled", [nearest_labels, voted_labels])
def test_no_label_is_made_up(sampled):
    labels = some_labels((9, 8, 7))
    places = torch.rand(20, 10, 10, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([8.0, 7, 6])
    found = sampled(labels, places)
    assert found.dtype == torch.int32
    assert set(found.unique().tolist()) <= set(labels.unique().tolist())


def test_nearest_is_the_rounded_place():
    labels = some_labels((9, 8, 7))
    places = torch.rand(12, 10, 10, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([8.0, 7, 6])
    rounded = places.round().long()
    assert torch.equal(
        nearest_labels(labels, places), labels[rounded[..., 0], rounded[..., 1], rounded[..., 2]]
    )


@given(st.integers(0, 1000), st.integers(1, 6))
def test_the_vote_is_the_greatest_interpolated_mask(seed, kinds):
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, kinds, (5, 6, 4), generator=source, dtype=torch.int32)
    places = torch.rand(40, 3, generator=source) * torch.tensor([6.0, 7, 5]) - 1
    found = voted_labels(labels, places)
    masks = functional.one_hot(functional.pad(labels, (2,) * 6).long(), kinds).double().permute(3, 0, 1, 2)
    grid = ((places.double() + 2) * 2 / (torch.tensor(masks.shape[1:]) - 1) - 1).flip(-1)
    scores = functional.grid_sample(masks[None], grid[None, :, None, None], align_corners=True)[0, :, :, 0, 0]
    chosen = scores.gather(0, found[None].long())[0]
    assert (scores.amax(0) - chosen).max() < 1e-4, "but for ties"


def test_linear_values_are_linear():
    size = (9, 8, 7)
    image = identity(size) @ torch.tensor([1.0, 10.0, -3.0])
    places = torch.rand(6, 5, 4, 3) * torch.tensor([8.0, 7, 6])
    assert torch.allclose(linear_values(image, places), places @ torch.tensor([1.0, 10.0, -3.0]), atol=1e-4)


@pytest.mark.parametrize("sampled", [nearest_labels, voted_labels])
def test_beyond_the_map_is_background(sampled):
    labels = torch.full((4, 4, 4), 7, dtype=torch.int32)
    places = torch.tensor([[-2.0, 1, 1], [1, 5.5, 1], [1, 1, 1]])[:, None, None]
    assert sampled(labels, places).flatten().tolist() == [0, 0, 7]
