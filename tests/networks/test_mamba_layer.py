"""The layer receives from where it says, and its form without a scan has as many parameters."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medkit.networks.mamba_layer import ChannelNorm, MambaLayer
from medkit.ops.selective_scan import selective_scan_reference

SIZES = (3, 4, 2)


def layer(**options) -> MambaLayer:
    torch.manual_seed(0)
    made = MambaLayer(3, 4, states=2, **options)
    with torch.no_grad():
        made.step_bias += 3  # steps large enough for a voxel to reach far
    return made.double()  # so that nothing small is rounded away


def reached(made: MambaLayer, voxel: int) -> torch.Tensor:
    """Which outputs, in the order of the raster, depend on an input voxel."""
    x = torch.randn(1, 4, *SIZES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = x.clone()
    changed.flatten(2)[..., voxel] *= -2
    with torch.no_grad():
        return (made(x) != made(changed)).any(1).flatten()


def test_every_voxel_receives_from_every_other():
    made = layer()
    assert all(reached(made, voxel).all() for voxel in range(24))


def test_a_causal_layer_looks_back_only():
    made = layer(causal=True)
    for voxel in range(24):
        found = reached(made, voxel)
        assert not found[:voxel].any()
        assert found[voxel:].all()


def test_without_a_scan_a_voxel_reaches_its_neighbours_only():
    torch.manual_seed(0)
    found = reached(MambaLayer(3, 4, scan=False).double(), 0).view(SIZES)
    assert found[:2, :2, :2].all()
    assert not found[2].any()
    assert not found[:, 2:].any()


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("channels", [16, 32, 320])
def test_without_a_scan_there_are_as_many_parameters(spatial_dims, causal, channels):
    sizes = [
        sum(p.numel() for p in MambaLayer(spatial_dims, channels, causal=causal, scan=scan).parameters())
        for scan in (True, False)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_it_is_the_layer_of_the_paper():
    """Written down once more from the paper's figure 3, on the flattened image, with the reference scan."""
    made = layer(causal=True)
    x = torch.randn(2, 4, *SIZES, dtype=torch.float64)
    line = x.flatten(2)
    normed = functional.layer_norm(line.mT, (4,), made.norm.weight, made.norm.bias).mT
    inside, gate = (made.enter.weight.flatten(1) @ normed).chunk(2, 1)
    width = made.filters.shape[2]
    inside = functional.conv1d(
        functional.pad(inside, (width - 1, 0)),
        made.filters,
        made.filter_bias,
        groups=len(made.filters),
    )
    inside = functional.silu(inside)
    step, B, C = (made.project.weight.flatten(1) @ inside).split([made.rank, 2, 2], 1)
    delta = made.step.weight.flatten(1) @ step
    A = -made.log_rates.exp()
    y = selective_scan_reference(inside, delta, A, B, C, made.skip, gate, made.step_bias, True)
    expected = line + made.leave.weight.flatten(1) @ y
    torch.testing.assert_close(made(x), expected.view_as(x))


def test_first_step_sizes_lie_in_mambas_range():
    steps = functional.softplus(MambaLayer(3, 64).step_bias)
    assert steps.min() >= 0.999e-3
    assert steps.max() <= 1.001e-1


def test_the_norm_is_pytorchs_with_channels_first():
    norm, x = ChannelNorm(5), torch.randn(2, 5, 3, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = functional.layer_norm(x.movedim(1, -1), (5,), norm.weight, norm.bias).movedim(-1, 1)
    torch.testing.assert_close(norm(x), expected)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("causal", [False, True])
def test_a_trace_has_the_gradients_of_the_layer(causal):
    """Of an image twice as large as the traced one, too."""
    made = layer(causal=causal)
    traced = torch.jit.trace(made, torch.randn(1, 4, *SIZES, dtype=torch.float64))
    for sizes in (SIZES, (6, 4, 2)):
        given = torch.randn(1, 4, *sizes, dtype=torch.float64, requires_grad=True)
        found, expected = (torch.autograd.grad(each(given).square().sum(), given) for each in (traced, made))
        torch.testing.assert_close(found, expected)
