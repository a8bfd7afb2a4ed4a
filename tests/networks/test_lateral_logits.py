"""Shared evidence: which channels make which logits, and what a softmax makes of them."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medkit.errors import UsageError
from medkit.networks import create
from medkit.networks.lateral_logits import LateralLogits

# Background, left X, midline, right X, right Y, left Y.
PAIRS = [[1, 3], [5, 4]]


def network(spatial_dims: int = 3, mirror_axis: int | None = None) -> LateralLogits:
    torch.manual_seed(0)
    below = create(
        "unet", spatial_dims=spatial_dims, in_channels=1, out_channels=5, channels=[4, 8], strides=[2]
    )
    return LateralLogits(below, 6, PAIRS, mirror_axis)


def test_logits_are_evidence_plus_or_minus_the_side():
    evidence = torch.randn(2, 5, 3, 4, 5)
    background, x, midline, y, side = evidence.unbind(1)
    expected = torch.stack([background, x + side, midline, x - side, y - side, y + side], 1)
    assert torch.equal(LateralLogits(nn.Identity(), 6, PAIRS)(evidence), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)
def test_each_logit_is_rounded_once_in_any_precision_and_order_in_memory(dtype, memory_format):
    evidence = (100 * torch.randn(2, 20, 7, 6, 5)).to(dtype).to(memory_format=memory_format)
    pairs = [[value, value + 18] for value in range(1, 15)]
    found = LateralLogits(nn.Identity(), 33, pairs)(evidence)
    assert found.dtype == dtype
    assert torch.equal(found[:, 1:15], evidence[:, 1:15] + evidence[:, -1:])
    assert torch.equal(found[:, 19:], evidence[:, 1:15] - evidence[:, -1:])
    assert torch.equal(found[:, 15:19], evidence[:, 15:19])


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=5))
@settings(max_examples=30)
def test_among_pairs_structure_and_side_are_independent(evidence):
    logits = LateralLogits(nn.Identity(), 6, PAIRS)(
        torch.tensor(evidence, dtype=torch.float64).view(1, 5, 1, 1)
    )
    _, left_x, _, right_x, right_y, left_y = logits.softmax(1).flatten()
    torch.testing.assert_close(left_x * right_y, right_x * left_y, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_it_learns_runs_in_half_precision_and_traces(spatial_dims):
    model = network(spatial_dims)
    image = torch.randn(1, 1, *(8, 12, 8)[:spatial_dims])
    output = model(image)
    assert output.shape == (1, 6, *image.shape[2:])
    output.square().mean().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        half = model(image)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), output, rtol=0.1, atol=0.1)
    traced = torch.jit.trace(model.eval(), image)
    torch.testing.assert_close(traced(image), model(image))


def test_weights_hold_no_more_than_the_network_s():
    model = network()
    assert set(model.state_dict()) == {f"network.{key}" for key in model.network.state_dict()}
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = network()
    other.load_state_dict(torch.load(file))
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(other(image), model(image))


@pytest.mark.parametrize(
    "pairs", [[], [[1, 3], [3, 4]], [[1, 1]], [[1, 6]], [[-1, 2]], [[1, 2, 3]], [[0, 1]]], ids=str
)
def test_pairs_that_are_none(pairs):
    with pytest.raises(UsageError, match="pairs: expected left and right class of each pair, from 1 to 5"):
        LateralLogits(nn.Identity(), 6, pairs)


@pytest.mark.parametrize("axis", [3, -1, "0"])
def test_axes_that_no_image_has_to_mirror(axis):
    with pytest.raises(UsageError, match="mirror_axis: expected an axis of space, 0, 1 or 2, or none, got"):
        LateralLogits(nn.Identity(), 6, PAIRS, axis)


def test_an_axis_that_this_image_has_not():
    with pytest.raises(ValueError, match=r"an axis 2 of space to mirror, got \(1, 1, 8, 8\); set another"):
        network(2, mirror_axis=2).eval()(torch.zeros(1, 1, 8, 8))


def test_evidence_of_another_number_of_channels():
    with pytest.raises(
        ValueError, match="expected 5 channels of evidence, of 4 structures whichever their side"
    ):
        LateralLogits(nn.Identity(), 6, PAIRS)(torch.randn(1, 6, 4, 4, 4))


@pytest.mark.parametrize("axis", [0, 1])
def test_the_mirror_image_has_mirrored_logits_of_the_other_side(axis):
    model = network(mirror_axis=axis).eval()
    image, swapped = torch.randn(2, 1, 9, 8, 6), [0, 3, 2, 1, 5, 4]
    with torch.no_grad():
        torch.testing.assert_close(model(image.flip(2 + axis)), model(image).flip(2 + axis)[:, swapped])
        plain = network().eval()
        assert not torch.allclose(
            plain(image.flip(2 + axis)), plain(image).flip(2 + axis)[:, swapped], atol=1e-3
        )


def test_a_training_sees_the_image_alone():
    image = torch.randn(2, 1, 8, 8, 8)
    assert torch.equal(network(mirror_axis=0).train()(image), network().train()(image))
