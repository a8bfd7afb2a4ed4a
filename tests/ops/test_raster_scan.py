"""The scan of volumes both ways: against sums over voxels, without copies, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from medkit.ops.raster_scan import bidirectional_scan
from medkit.ops.selective_scan import selective_scan_reference

ALONG = ("u", "delta", "B", "C", "z")


def volume(sizes: tuple[int, ...], groups: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64):
    noise = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=noise, dtype=dtype)

    channels, states = 2 * groups, 3
    return {
        "u": normal(2, channels, *sizes),
        "delta": normal(2, channels, *sizes),
        "A": -normal(channels, states).exp(),
        "B": normal(2, groups, states, *sizes),
        "C": normal(2, groups, states, *sizes),
        "D": normal(channels),
        "z": normal(2, channels, *sizes),
        "delta_bias": normal(channels),
    }


def expected(given: dict[str, torch.Tensor]) -> torch.Tensor:
    """By the reference on sequences, and for the way back on flipped ones."""
    sizes = given["u"].shape[2:]
    sequences = {
        name: x.reshape(*x.shape[: x.ndim - len(sizes)], -1) if name in ALONG else x
        for name, x in given.items()
    }
    there = selective_scan_reference(**sequences, delta_softplus=True)
    flipped = {name: x.flip(-1) if name in ALONG else x for name, x in sequences.items()}
    back = selective_scan_reference(**flipped, delta_softplus=True).flip(-1)
    return ((there + back) / 2).reshape(given["u"].shape)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 2), st.integers(0, 2**31))
def test_it_is_the_mean_of_there_and_back(sizes, groups, seed):
    drawn = volume(tuple(sizes), groups, seed)
    torch.testing.assert_close(bidirectional_scan(**drawn, delta_softplus=True), expected(drawn))
    single = {name: x.float() for name, x in drawn.items()}
    found = bidirectional_scan(**single, delta_softplus=True)
    torch.testing.assert_close(found.double(), expected(drawn), rtol=1e-4, atol=1e-4)


def test_b_and_c_without_groups_and_without_space():
    drawn = volume((3, 4, 5))
    without_groups = drawn | {name: drawn[name][:, 0] for name in ("B", "C")}
    torch.testing.assert_close(bidirectional_scan(**without_groups), bidirectional_scan(**drawn))
    constant = drawn | {"B": drawn["A"], "C": drawn["A"]}
    spread = drawn | {
        name: drawn["A"][None, :, :, None, None, None].expand(2, 2, 3, 3, 4, 5) for name in ("B", "C")
    }
    torch.testing.assert_close(bidirectional_scan(**constant), bidirectional_scan(**spread))


def test_a_turned_volume_gives_the_turned_result():
    drawn = volume((3, 4, 5), dtype=torch.float32)
    axes = (-3, -2, -1)
    turned = {name: x.flip(axes) if name in ALONG else x for name, x in drawn.items()}
    assert torch.equal(bidirectional_scan(**turned), bidirectional_scan(**drawn).flip(axes))


def test_every_voxel_receives_from_every_other():
    drawn = volume((2, 3, 2)) | {
        "delta": torch.full((2, 2, 2, 3, 2), 0.1, dtype=torch.float64),
        "D": None,
        "z": None,
    }
    drawn["u"].requires_grad_()
    out = bidirectional_scan(**drawn)
    for voxel in out[0, 0].flatten():
        (grad,) = torch.autograd.grad(voxel, drawn["u"], retain_graph=True)
        assert (grad[0, 0] != 0).all()


def test_the_mean_of_large_halves_is_finite():
    one = torch.ones(1, 1, 2, 2, dtype=torch.float16)
    out = bidirectional_scan(one, one, torch.zeros(1, 1), one, 12_000 * one)
    assert torch.equal(out, 30_000 * one)


def test_gradients():
    drawn = volume((2, 2, 3))
    leaves = [x.requires_grad_() for x in drawn.values()]
    torch.autograd.gradcheck(lambda *x: bidirectional_scan(*x, True), leaves)


class Operations(TorchDispatchMode):
    """The names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_both_ways_read_the_same_memory():
    drawn = volume((4, 4, 4), dtype=torch.float32)
    with Operations() as seen:
        bidirectional_scan(**drawn, delta_softplus=True)
    assert seen.names == {"view", "selective_scan", "div", "add"}


def test_what_does_not_fit_is_refused():
    drawn = volume((2, 3, 4))
    with pytest.raises(
        ValueError, match=r"expected delta of the sizes \(2, 3, 4\), as u has, got \(2, 2, 4, 3, 2\)"
    ):
        bidirectional_scan(**drawn | {"delta": drawn["delta"].transpose(2, 4)})
    with pytest.raises(
        ValueError, match=r"expected B of the sizes \(2, 3, 4\), as u has, got \(2, 1, 3, 24\)"
    ):
        bidirectional_scan(**drawn | {"B": drawn["B"].flatten(3)})
    with pytest.raises(ValueError, match=r"none of them 0, got \(2, 2, 0, 3, 4\)"):
        bidirectional_scan(**drawn | {"u": drawn["u"][:, :, :0]})
    with pytest.raises(ValueError, match=r"with an axis of space or more, none of them 0, got \(2, 2\)"):
        bidirectional_scan(**drawn | {"u": drawn["u"][:, :, 0, 0, 0]})
