"""medkit's own network: which stages scan, and its twin without scans."""

from __future__ import annotations

import pytest
import torch

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.scan_unet import ScanUNet


@pytest.mark.parametrize("scanned", [0, 1, 2, 3])
def test_the_deepest_stages_scan(scanned):
    network = ScanUNet(3, 1, 2, filters=(4, 8, 8), strides=(2, 2), scanned=scanned)
    found = [any(isinstance(module, MambaLayer) for module in stage.modules()) for stage in network.stages]
    assert found == [False] * (3 - scanned) + [True] * scanned


def test_the_twin_has_as_many_parameters_and_no_scan():
    network, twin = (ScanUNet(3, 1, 3, scan=scan) for scan in (True, False))
    count, of_twin = (sum(p.numel() for p in net.parameters()) for net in (network, twin))
    assert of_twin == pytest.approx(count, rel=1e-3)
    assert not any(module.scan for module in twin.modules() if isinstance(module, MambaLayer))


def test_the_far_corner_is_seen():
    """Through the scan: convolutions of these stages reach no further than a part of the image."""
    image = torch.randn(1, 1, 8, 8, 96)
    changed = image.clone()
    changed[..., 0] += 10
    far = []
    for scan in (True, False):
        torch.manual_seed(0)
        network = ScanUNet(3, 1, 2, filters=(4, 8), strides=(2,), scanned=1, scan=scan).eval()
        for module in network.modules():  # an instance norm would see the whole image
            if isinstance(module, torch.nn.InstanceNorm3d):
                module.forward = lambda x: x
        with torch.no_grad():
            far.append((network(image) - network(changed))[..., -1].abs().max())
    assert far[0] > 0
    assert far[1] == 0


def test_more_scanned_stages_than_there_are():
    with pytest.raises(ValueError, match="expected scanned from 0 to the 2 stages, got 3"):
        ScanUNet(3, 1, 2, filters=(4, 8), strides=(2,), scanned=3)
