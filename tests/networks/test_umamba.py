"""U-Mamba: where its two variants scan, and their twins."""

from __future__ import annotations

import pytest

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.umamba import UMamba
from tests.networks.twins import assert_as_many_parameters


@pytest.mark.parametrize(
    ("variant", "expected"), [("bot", [False, False, True]), ("enc", [True, True, True])]
)
def test_where_the_variants_scan(variant, expected):
    network = UMamba(3, 1, 2, filters=(4, 8, 8), strides=(2, 2), variant=variant)
    layers = [[m for m in stage.modules() if isinstance(m, MambaLayer)] for stage in network.stages]
    assert [len(of_stage) == 1 for of_stage in layers] == expected
    assert all(layer.causal and layer.scan for of_stage in layers for layer in of_stage)


@pytest.mark.parametrize("variant", ["bot", "enc"])
def test_the_twin_has_as_many_parameters_and_no_scan(variant):
    network, twin = (UMamba(3, 1, 3, variant=variant, scan=scan) for scan in (True, False))
    assert_as_many_parameters(network, twin)
    assert not any(module.scan for module in twin.modules() if isinstance(module, MambaLayer))


def test_an_unknown_variant():
    with pytest.raises(ValueError, match="expected the variant 'bot' or 'enc', got 'dec'"):
        UMamba(3, 1, 2, variant="dec")
