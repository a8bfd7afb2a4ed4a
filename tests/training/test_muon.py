"""Muon for weights and AdamW for the rest, held against PyTorch's own of both."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.optimizers import WarmupCosineSchedule
from torch import nn

from medkit.networks import create
from medkit.training.muon import muon
from tests.networks.small_arguments import SMALL


def trained(network: nn.Module, *optimizers: torch.optim.Optimizer, steps: int = 4) -> None:
    rng = torch.Generator().manual_seed(3)
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        network(torch.randn(5, 6, 4, 4, 4, generator=rng)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


class OfMatrices(nn.Module):
    """A convolution of 1^3 voxels as a matrix, which PyTorch's Muon takes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))
        self.bias = nn.Parameter(torch.zeros(8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.einsum("oi,bixyz->boxyz", self.weight, image) + self.bias.view(1, -1, 1, 1, 1)


def test_it_does_what_those_of_pytorch_do():
    reference = OfMatrices()
    layer = nn.Conv3d(6, 8, 1)
    layer.load_state_dict(
        {"weight": reference.weight.detach()[..., None, None, None], "bias": reference.bias}
    )
    trained(layer, muon(layer.parameters(), lr=0.02, rest_lr=1e-3, weight_decay=0.1))
    trained(
        reference,
        torch.optim.Muon([reference.weight], lr=0.02, weight_decay=0.1, momentum=0.95),
        torch.optim.AdamW([reference.bias], lr=1e-3, betas=(0.9, 0.95), eps=1e-10, weight_decay=0),
    )
    # Both make matrices orthogonal in bfloat16, in different orders.
    torch.testing.assert_close(layer.weight.flatten(1), reference.weight, rtol=0, atol=1e-3)
    torch.testing.assert_close(layer.bias, reference.bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv3d(6, 8, 3, padding=1), nn.ConvTranspose3d(6, 8, 2, 2)],
    ids=["convolution", "transposed"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_an_update_of_a_layer_is_near_orthogonal(layer, layout):
    layer = copy.deepcopy(layer).to(memory_format=layout)
    before = layer.weight.detach().clone()
    trained(layer, muon(layer.parameters(), lr=0.5, weight_decay=0.0), steps=1)
    values = torch.linalg.svdvals((layer.weight.detach() - before).flatten(1) / 0.5)
    assert 0.6 < values.min() <= values.max() < 1.3


def test_a_schedule_scales_both_rates_and_a_training_goes_on_where_it_was():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(6, 8, 3, padding=1), nn.InstanceNorm3d(8, affine=True))
    optimizer = muon(network.parameters(), lr=0.02, rest_lr=1e-3)
    schedule = WarmupCosineSchedule(optimizer, 0, 10)
    trained(network, optimizer)
    for _ in range(5):
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 5e-4])
    copied = copy.deepcopy(network)
    other = muon(copied.parameters())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    trained(network, optimizer)
    trained(copied, other)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), copied.parameters(), strict=True))


def test_a_network_without_vectors():
    layer = nn.Conv3d(6, 8, 3, bias=False)
    assert [len(group["params"]) for group in muon(layer.parameters()).param_groups] == [1]


@pytest.mark.parametrize("name", ["scan_unet", "lightnet", "segmamba"])
def test_tables_of_rates_are_no_weights(name):
    network = create(name, spatial_dims=3, in_channels=1, out_channels=2, **SMALL[name])
    weights, rest = ({id(p) for p in group["params"]} for group in muon(network.parameters()).param_groups)
    tables = [p for key, p in network.named_parameters() if key.endswith(("log_rates", ".weights"))]
    assert tables
    assert all(id(table) in rest for table in tables)
    convolutions = [m.weight for m in network.modules() if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d))]
    assert all(id(weight) in weights for weight in convolutions)
