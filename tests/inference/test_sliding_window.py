"""Sliding windows: MONAI's own results, in slabs that are final, and no window computed for nothing."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

from medkit.errors import UsageError
from medkit.inference.sliding_window import SlabInferer
from tests.largest_tensor import LargestTensor


def make_network(axes, channels=1, classes=3):
    """A convolution: its zero padding makes every output depend on where its window lies."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes](channels, classes, 3, padding=1)
    return conv.requires_grad_(False)


@st.composite
def scans(draw):
    """An image's shape, and what either inferer is made with."""
    axes = draw(st.integers(2, 3))
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        *(draw(st.integers(1, 17)) for _ in range(axes)),
    )
    each = st.one_of(st.integers(1, 9), st.sampled_from([-1, 20]))
    parts = st.floats(0, 0.95)
    padding = draw(st.sampled_from([("constant", -1.5), ("constant", 0.0), ("replicate", 0.0)]))
    return shape, {
        "roi_size": draw(st.one_of(st.integers(1, 9), st.tuples(*[each] * axes))),
        "sw_batch_size": draw(st.integers(1, 5)),
        "overlap": draw(st.one_of(parts, st.tuples(*[parts] * axes))),
        "mode": draw(st.sampled_from(["gaussian", "constant"])),
        "sigma_scale": draw(st.sampled_from([0.125, 0.5])),
        "padding_mode": padding[0],
        "cval": padding[1],
    }


def test_windows_are_told_as_they_are_computed():
    heard = []
    inferer = SlabInferer((4, 4), sw_batch_size=4, overlap=0)
    inferer.on_windows = lambda done, total: heard.append((done, total))
    inferer(torch.zeros(1, 1, 12, 9), make_network(2))
    assert heard == [(4, 9), (8, 9), (9, 9)]


@given(scan=scans(), seed=st.integers(0, 99))
def test_output_is_that_of_monai(scan, seed):
    shape, options = scan
    image = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    network = make_network(len(shape) - 2, shape[1])
    found = SlabInferer(**options)(image, network)
    torch.testing.assert_close(found, SlidingWindowInferer(**options)(image, network), rtol=1e-5, atol=1e-5)


@given(scan=scans())
def test_slabs_are_the_output_in_order(scan):
    shape, options = scan
    image, network = torch.randn(shape), make_network(len(shape) - 2, shape[1])
    inferer = SlabInferer(**options)
    slabs = [slab.clone() for slab in inferer.slabs(image[0], network)]
    torch.testing.assert_close(torch.cat(slabs, 1), inferer(image, network)[0])


def test_smallest_images():
    for shape in ((1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1, 9, 1)):
        image, network = torch.randn(shape), make_network(len(shape) - 2)
        found = SlabInferer(4, overlap=0.5, mode="gaussian")(image, network)
        torch.testing.assert_close(
            found, SlidingWindowInferer(4, overlap=0.5, mode="gaussian")(image, network)
        )


def test_one_window_is_the_network():
    image, network = torch.randn(1, 1, 6, 7, 8), make_network(3)
    torch.testing.assert_close(SlabInferer((6, 7, 8))(image, network), network(image))


def test_metadata_are_those_of_the_image():
    image = MetaTensor(torch.randn(1, 1, 5, 6, 7), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    found = SlabInferer(4)(image, make_network(3))
    expected = SlidingWindowInferer(4)(image, make_network(3))
    assert isinstance(found, MetaTensor)
    assert found.meta.keys() == expected.meta.keys()
    torch.testing.assert_close(found.affine, image.affine)


def test_network_gets_what_else_is_passed():
    image, network = torch.randn(1, 1, 9, 9), make_network(2)
    found = SlabInferer(4)(image, lambda x, factor, plus: network(x) * factor + plus, 2.0, plus=1.0)
    torch.testing.assert_close(found, SlabInferer(4)(image, network) * 2 + 1)


def test_slabs_hold_no_more_than_a_window_along_the_first_axis():
    image, network = torch.randn(1, 400, 12, 10), make_network(3, classes=5)
    inferer = SlabInferer(8, overlap=0.5, mode="gaussian")
    with LargestTensor() as largest:
        rows = sum(slab.shape[1] for slab in inferer.slabs(image, network))
    assert rows == 400
    assert largest.elements == 5 * 8 * 12 * 10
    with LargestTensor() as largest:
        inferer(image[None], network)
    assert largest.elements == 5 * 400 * 12 * 10


class Counting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.windows = network, 0

    def forward(self, x):
        self.windows += len(x)
        return self.network(x)


def body_in_air(channels=1):
    image = torch.full((1, channels, 40, 16, 16), -1000.0)
    image[:, :, 12:20] = torch.randn(1, channels, 8, 16, 16)
    return image


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_windows_of_one_value_are_computed_once(batch, channels):
    image = body_in_air(channels)
    every, few = (Counting(make_network(3, channels)) for _ in range(2))
    options = {"roi_size": 8, "sw_batch_size": batch, "overlap": 0.5, "mode": "gaussian"}
    expected = SlabInferer(**options)(image, every)
    found = SlabInferer(**options, reuse_constant=True)(image, few)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)  # of some hundreds
    touched = 3 * 9  # starts 8, 12 and 16 along the first axis, three along each other
    assert every.windows == 9 * 9
    assert touched < few.windows <= touched + 2 * batch


def test_windows_of_one_value_are_computed_unless_it_is_asked_for():
    network = Counting(make_network(3))
    SlabInferer(8)(torch.zeros(1, 1, 16, 8, 8), network)
    assert network.windows == 3


def test_values_that_are_not_the_same_are_told_apart():
    image = torch.zeros(1, 1, 24, 4)
    image[:, :, 8:16], image[:, :, 16:] = 3.0, 7.0
    network = make_network(2)
    options = {"roi_size": (4, 4), "overlap": 0.0}
    found = SlabInferer(**options, reuse_constant=True)(image, network)
    torch.testing.assert_close(found, SlabInferer(**options)(image, network))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_any_order_of_values(batch):
    """A new value takes the place of the one before, which a later window of the same batch may still want."""
    options = {"roi_size": (4, 4), "sw_batch_size": batch, "overlap": 0.0}
    for values in itertools.product([0.0, 1.0, 2.0], repeat=5):
        image = torch.tensor(values).repeat_interleave(4)[None, None, :, None].expand(1, 1, 20, 4)
        found = SlabInferer(**options, reuse_constant=True)(image, lambda x: x + 1)
        assert torch.equal(found, image + 1)


@pytest.mark.parametrize("overlap", [1, -0.1, (0.5, 1.0, 0.5)])
def test_overlap_that_cannot_be(overlap):
    with pytest.raises(UsageError, match="overlap: expected a part of a window from 0 to below 1"):
        SlabInferer(8, overlap=overlap)


def test_no_windows_at_a_time():
    with pytest.raises(UsageError, match="sw_batch_size: expected one window at least, got 0"):
        SlabInferer(8, sw_batch_size=0)


def test_window_of_other_axes():
    with pytest.raises(UsageError, match=r"expected 2 sides for an image of 2 axes, got \(8, 8, 8\)"):
        SlabInferer((8, 8, 8))(torch.zeros(1, 1, 9, 9), make_network(2))


@pytest.mark.parametrize(
    ("network", "got"),
    [
        (lambda x: {"out": x}, "got dict"),
        (lambda x: [x], "got list"),
        (lambda x: x[..., ::2], r"got shape \(1, 1, 8, 4\)"),
    ],
)
def test_output_that_is_no_map_of_the_window(network, got):
    with pytest.raises(UsageError, match=rf"expected a network that gives a tensor \(B, K, 8, 8\).*{got}"):
        SlabInferer((8, 8))(torch.zeros(1, 1, 9, 9), network)


def test_from_a_config():
    config = {
        "_target_": "medkit.inference.sliding_window.SlabInferer",
        "roi_size": [4, 4, 4],
        "sw_batch_size": 2,
        "overlap": 0.25,
        "mode": "gaussian",
    }
    inferer = ConfigParser({"inferer": config}).get_parsed_content("inferer")
    assert inferer(torch.zeros(1, 1, 6, 6, 6), make_network(3)).shape == (1, 3, 6, 6, 6)
