"""The layer treats all axes alike, in both directions, and each of its orders is a scan of the volume turned."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.oriented_mamba_layer import OrientedMambaLayer
from medkit.ops.selective_scan import selective_scan_reference

ORDERS = {2: [(0, 1), (1, 0)], 3: [(0, 1, 2), (1, 2, 0), (2, 0, 1)]}
SIZES = (3, 4, 2)


def layer(spatial_dims: int, cls: type[MambaLayer] = OrientedMambaLayer) -> MambaLayer:
    """With steps large enough for a voxel to reach far, and in float64, so that nothing small is rounded away."""
    torch.manual_seed(0)
    made = cls(spatial_dims, 4, 2).double()
    with torch.no_grad():
        made.step_bias += 3
    return made


def image(spatial_dims: int) -> torch.Tensor:
    sizes = SIZES[:spatial_dims]
    return torch.randn(2, 4, *sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def permuted(x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    return x.permute(0, 1, *(axis + 2 for axis in order))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_it_is_the_mean_of_a_scan_of_each_order_there_and_back(spatial_dims):
    """Written down once more: lines gathered by voxel numbers, with the reference scan."""
    made, x = layer(spatial_dims), image(spatial_dims)
    sizes = x.shape[2:]
    inside, gate = made.enter(made.norm(x)).chunk(2, 1)
    convolve = (functional.conv2d, functional.conv3d)[spatial_dims - 2]
    inside = functional.silu(convolve(inside, made.filters, made.filter_bias, padding=1, groups=8))
    step, B, C = made.project(inside).split([made.rank, 2, 2], 1)
    lines = [each.flatten(2) for each in (inside, made.step(step), B, C, gate)]
    voxels = torch.arange(sizes.numel()).view(1, 1, *sizes)
    total = torch.zeros_like(lines[0])
    for order in ORDERS[spatial_dims]:
        there = permuted(voxels, order).flatten()
        for way in (there, there.flip(0)):
            u, delta, into, out_of, z = (line[..., way] for line in lines)
            rates = -made.log_rates.exp()
            y = selective_scan_reference(u, delta, rates, into, out_of, made.skip, z, made.step_bias, True)
            total = total.index_add(2, way, y)
    mean = (total / (2 * spatial_dims)).view_as(inside)
    torch.testing.assert_close(made(x), x + made.leave(mean))


@pytest.mark.parametrize(
    ("spatial_dims", "order"), [(2, (1, 0)), (3, (1, 2, 0)), (3, (2, 0, 1))], ids=["2D", "on", "back"]
)
@pytest.mark.parametrize("cls", [OrientedMambaLayer, MambaLayer])
def test_a_volume_that_is_turned_gives_the_result_turned(cls, spatial_dims, order):
    """With a filter that is the same along every axis; the raster of the plain layer favours the last one."""
    made, x = layer(spatial_dims, cls), image(spatial_dims)
    with torch.no_grad():
        made.filters.copy_(made.filters.flatten(1).mean(1).view(-1, 1, *[1] * spatial_dims))
        found, expected = made(permuted(x, order)), permuted(made(x), order)
    assert torch.allclose(found, expected) is (cls is OrientedMambaLayer)


def test_every_voxel_receives_from_every_other():
    made, x = layer(3), image(3)
    for voxel in range(24):
        changed = x.clone()
        changed.flatten(2)[..., voxel] *= -2
        with torch.no_grad():
            assert (made(x) != made(changed)).any(1).all()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_orders_cost_no_parameters(spatial_dims):
    oriented, plain = OrientedMambaLayer(spatial_dims, 16, 4), MambaLayer(spatial_dims, 16, 4)
    shapes = [{key: x.shape for key, x in made.state_dict().items()} for made in (oriented, plain)]
    assert shapes[0] == shapes[1]


def test_without_a_scan_it_is_the_plain_layer_without_one():
    torch.manual_seed(0)
    oriented = OrientedMambaLayer(3, 4, 2, scan=False)
    torch.manual_seed(0)
    plain = MambaLayer(3, 4, 2, scan=False)
    x = image(3).float()
    assert torch.equal(oriented(x), plain(x))
    assert not hasattr(oriented, "project")


def test_half_types_do_not_overflow_where_the_mean_does_not():
    made = layer(2)._both_ways
    one, none = torch.ones(1, 8, 3, 4, dtype=torch.float16), torch.zeros(1, 2, 3, 4, dtype=torch.float16)
    rates = -torch.ones(8, 2)
    gate = torch.full_like(one, 100)  # which silu leaves as it is
    found = made(600 * one, one, rates, none, none, gate)
    assert torch.equal(found, 60000 * one)
