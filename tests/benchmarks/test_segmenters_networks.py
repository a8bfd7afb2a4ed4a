"""The table of networks: all of them, each with its twin, of about one size."""

from __future__ import annotations

import pytest
from segmenters_networks import LARGER, MEASURE, NETWORKS, TWINS, build, definition, parameters

from medkit.errors import UsageError
from medkit.networks import create, names

SHAPE = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}


@pytest.fixture(scope="module")
def sizes():
    return {label: parameters(build(label, **SHAPE)) for label in NETWORKS}


def test_every_network_of_the_registry_takes_part():
    taking_part = {network.name for network in NETWORKS.values()}
    missing = sorted(set(names()) - taking_part)
    assert not missing, (
        f"add a line for each of {missing} to the tables of benchmarks/segmenters_networks.py, with arguments that "
        f"give it about as many parameters as {MEASURE}: to _SCANNING if it takes scan=False, otherwise to _PLAIN"
    )
    assert taking_part == set(names())
    assert {network.arguments["variant"] for network in NETWORKS.values() if network.name == "umamba"} == {
        "bot",
        "enc",
    }


@pytest.mark.parametrize("label", NETWORKS)
def test_whatever_can_be_made_without_its_scan_has_a_twin(label):
    if label in TWINS:
        assert definition(TWINS[label], **SHAPE) == {**definition(label, **SHAPE), "scan": False}
    elif label not in TWINS.values():
        with pytest.raises(UsageError, match="takes no 'scan'"):
            create(**{**definition(label, **SHAPE), "scan": False})


def test_sizes_are_comparable(sizes):
    off = {label: size / sizes[MEASURE] - 1 for label, size in sizes.items()}
    assert {label for label, share in off.items() if abs(share) > 0.06} == LARGER.keys()
    assert all(abs(sizes[label] / sizes[twin] - 1) < 1e-3 for label, twin in TWINS.items())
