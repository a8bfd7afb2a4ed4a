"""A network beside its twin without scans: as many parameters, and blind to what lies far away."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def assert_as_many_parameters(network: nn.Module, twin: nn.Module) -> None:
    """To a part in a thousand."""
    count, of_twin = (sum(p.numel() for p in net.parameters()) for net in (network, twin))
    assert of_twin == pytest.approx(count, rel=1e-3)


def without_norms(module: nn.Module) -> nn.Module:
    """An instance norm would see the whole image."""
    for part in module.modules():
        if isinstance(part, nn.InstanceNorm3d):
            part.forward = lambda x: x
    return module


def far_change(network: type[nn.Module], axis: int = 2, **options: object) -> float:
    """The largest change of a 3D network's logits at one end of a long image when its other end changes.

    Args:
        network: its class.
        axis: the long axis of space, 0 to 2.
        options: its arguments, beside one channel and two classes.
    """
    torch.manual_seed(0)
    made = without_norms(network(3, 1, 2, **options)).eval()
    sizes = [8, 8, 8]
    sizes[axis] = 96
    image = torch.randn(1, 1, *sizes)
    changed = image.clone()
    changed.select(axis + 2, 0).add_(10)
    with torch.no_grad():
        difference = made(image) - made(changed)
    return float(difference.select(axis + 2, -1).abs().max())
