"""medkit's own network: which stages scan, and its twin without scans."""

from __future__ import annotations

import pytest

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.scan_unet import ScanUNet
from tests.networks.twins import assert_as_many_parameters, far_change


@pytest.mark.parametrize("scanned", [0, 1, 2, 3])
def test_the_deepest_stages_scan(scanned):
    network = ScanUNet(3, 1, 2, filters=(4, 8, 8), strides=(2, 2), scanned=scanned)
    found = [any(isinstance(module, MambaLayer) for module in stage.modules()) for stage in network.stages]
    assert found == [False] * (3 - scanned) + [True] * scanned


def test_the_twin_has_as_many_parameters_and_no_scan():
    network, twin = (ScanUNet(3, 1, 3, scan=scan) for scan in (True, False))
    assert_as_many_parameters(network, twin)
    assert not any(module.scan for module in twin.modules() if isinstance(module, MambaLayer))


def test_the_far_corner_is_seen():
    """Through the scan: convolutions of these stages reach no further than a part of the image."""
    small = {"filters": (4, 8), "strides": (2,), "scanned": 1}
    assert far_change(ScanUNet, **small) > 0
    assert far_change(ScanUNet, **small, scan=False) == 0


def test_more_scanned_stages_than_there_are():
    with pytest.raises(ValueError, match=r"expected scanned from 0 to the number of stages \(2\), got 3"):
        ScanUNet(3, 1, 2, filters=(4, 8), strides=(2,), scanned=3)
