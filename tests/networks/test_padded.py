"""Padding reaches the next multiple, repeats what is at the border, and is cut off again."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medkit.networks.padded import Padded, crop, pad_to_multiple, through_padded

AXES = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 4])), min_size=1, max_size=3)


@given(AXES)
def test_sizes_become_the_next_multiple(axes):
    sizes, multiple = zip(*axes, strict=True)
    image = torch.randn(1, 2, *sizes)
    padded = pad_to_multiple(image, multiple)
    found = padded.shape[2:]
    assert all(
        new % step == 0 and new >= size for new, size, step in zip(found, sizes, multiple, strict=True)
    )
    assert any(new > step for new, step in zip(found, multiple, strict=True))
    assert all(new < size + 2 * step for new, size, step in zip(found, sizes, multiple, strict=True))
    assert torch.equal(crop(padded, sizes), image)


def test_the_border_is_repeated():
    image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    assert pad_to_multiple(image, (3, 2)).tolist() == [
        [[[1.0, 2.0, 3.0, 3.0], [4.0, 5.0, 6.0, 6.0], [4.0, 5.0, 6.0, 6.0]]]
    ]


def test_what_fits_is_left_alone():
    image = torch.zeros(1, 1, 4, 8)
    assert pad_to_multiple(image, (4, 4)) is image
    assert crop(image, (4, 8)) is image


def test_the_network_sees_the_multiple_and_the_caller_the_image():
    seen = []

    class Spy(nn.Module):
        def forward(self, image):
            seen.append(tuple(image.shape))
            return image.repeat(1, 3, 1, 1, 1)

    image = torch.randn(2, 1, 5, 8, 3)
    logits = Padded(Spy(), (4, 4, 2))(image)
    assert seen == [(2, 1, 8, 8, 4)]
    assert torch.equal(logits, image.repeat(1, 3, 1, 1, 1))


def test_levels_in_a_stack_keep_their_classes():
    """As of ``DynUNet``, which has an axis more than an image; the classes are as many as the padded voxels."""

    class Stacking(nn.Module):
        def forward(self, image):
            level = image.repeat(1, 8, 1, 1)
            return torch.stack([level, 2 * level], 1)

    image = torch.randn(2, 1, 5, 6)
    levels = Padded(Stacking(), (4, 4))(image)
    assert torch.equal(levels, torch.stack([image, 2 * image], 1).repeat(1, 1, 8, 1, 1))


def test_levels_one_by_one_show_the_image_and_no_more():
    """As of ``MedNeXt``: the full grid, and one half as fine."""

    class Listing(nn.Module):
        def forward(self, image):
            return image, image[..., ::2, ::2]

    image = torch.randn(2, 3, 5, 8)
    fine, coarse = Padded(Listing(), (8, 2))(image)
    assert torch.equal(fine, image)
    assert torch.equal(coarse, image[..., ::2, ::2])


@pytest.mark.parametrize("sizes", [(1, 4, 4), (1, 1, 4, 4), (1, 1, 1, 4, 4, 4)])
def test_another_number_of_axes(sizes):
    with pytest.raises(
        ValueError, match=r"expected an image .* 3 axes of space\), got \(1, .*; image\[None\] adds"
    ):
        through_padded(torch.nn.Identity(), torch.zeros(sizes), (2, 2, 2))


@pytest.mark.parametrize("sizes", [(1, 1, 0, 4), (1, 1, 4, 0), (0, 1, 4, 4)])
def test_an_image_without_a_voxel(sizes):
    with pytest.raises(
        ValueError, match=r"expected an image with no axis of length 0, got \(.*0.*\); leave it out"
    ):
        through_padded(torch.nn.Identity(), torch.zeros(sizes), (2, 2))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_an_image_of_whole_numbers(dtype):
    with pytest.raises(
        TypeError, match=f"expected an image of a floating-point type, got {dtype}; image.float"
    ):
        through_padded(torch.nn.Identity(), torch.zeros(1, 1, 4, 4, dtype=dtype), (2, 2))


def test_the_checks_leave_sizes_open():
    """A trace of a small image holds for a larger one, and warns of nothing; so does a program of open sizes."""
    network, image, larger = Padded(nn.Identity(), (4, 4)), torch.randn(1, 1, 5, 6), torch.randn(2, 1, 9, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, image)
    assert torch.equal(traced(larger), larger)
    open_axes = (dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC),)
    program = torch.export.export(network, (torch.cat([image, image]),), dynamic_shapes=open_axes)
    assert torch.equal(program.module()(larger), larger)
