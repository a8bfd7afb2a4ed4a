"""Label schemes: tables by value, unknown values, and schemes that contradict themselves."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.label_scheme import LabelScheme, Structure, looked_up

AIR = Structure(0, "background", "air", "outside", 0, 0)
LEFT = Structure(3, "left", "grey", "brain", 1, 5)
RIGHT = Structure(5, "right", "grey", "brain", 2, 3)
FLUID = Structure(8, "fluid", "water", "fluid", 0, 8)
SCHEME = LabelScheme([AIR, LEFT, RIGHT, FLUID])
CPU = torch.device("cpu")


def test_tables_by_value():
    assert SCHEME.tissues == ("air", "grey", "water")
    assert SCHEME.values == (0, 3, 5, 8)
    assert SCHEME.tissue_table(CPU).tolist() == [0, -1, -1, 1, -1, 1, -1, -1, 2]
    assert SCHEME.opposite_table(CPU)[[0, 3, 5, 8]].tolist() == [0, 5, 3, 8]
    assert SCHEME.target_table(CPU)[[0, 3, 5, 8]].tolist() == [0, 1, 2, 0]
    assert SCHEME.background_tissue == 0


def test_masks():
    labels = torch.tensor([[0, 3], [5, 8]], dtype=torch.int32)
    assert SCHEME.mask(labels, ["brain"]).tolist() == [[False, True], [True, False]]
    assert SCHEME.mask(labels, ["outside", "fluid"]).tolist() == [[True, False], [False, True]]
    assert SCHEME.tissue_mask(labels, ["water", "air"]).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_looking_up_is_indexing(dtype):
    labels = torch.randint(0, 9, (4, 5, 6)).to(dtype)
    table = torch.randn(9)
    assert torch.equal(looked_up(table, labels), table[labels.long()])
    assert torch.equal(looked_up(table, labels.permute(2, 0, 1)), table[labels.long()].permute(2, 0, 1))


def test_known_values_pass():
    SCHEME.check(torch.tensor([0, 3, 5, 8]))


@pytest.mark.parametrize(
    ("labels", "told"), [([0, 4], "4"), ([-1, 3], "-1"), ([9, 8, 900], "9, 900"), ([1, 2, 4], "1, 2, 4")]
)
def test_unknown_values_are_told(labels, told):
    with pytest.raises(
        UsageError, match=rf"expected values of the scheme \(4 of them, 0 to 8\), got {told}; add them"
    ):
        SCHEME.check(torch.tensor(labels))


def test_many_unknown_values_are_not_all_told():
    with pytest.raises(UsageError, match=r"got 10, 11, 12, 13, 14, 15, 16, 17, \.\.\.; add"):
        SCHEME.check(torch.arange(10, 30))


def test_unknown_tissues_are_refused():
    with pytest.raises(UsageError, match=r"expected tissues of \['air', 'grey', 'water'\], got \['gray'\]"):
        SCHEME.values_of(["gray", "air"])


@pytest.mark.parametrize(
    "structures",
    [[LEFT, RIGHT], [AIR, LEFT, RIGHT, LEFT], [AIR, Structure(-1, "below", "air", "outside", 0, -1)]],
)
def test_values_that_contradict_are_refused(structures):
    with pytest.raises(
        UsageError, match="expected each value once, none below 0 and a background of value 0"
    ):
        LabelScheme(structures)


@pytest.mark.parametrize(
    "changed", [{"opposite": 7}, {"opposite": 5}, {"tissue": "white"}, {"region": "outside"}]
)
def test_sides_that_contradict_are_refused(changed):
    with pytest.raises(
        UsageError, match=r"expected the opposite of \d \(\w+\) to be a structure of the same tissue"
    ):
        LabelScheme([AIR, LEFT, dataclasses.replace(RIGHT, **changed)])


def test_an_unknown_region_is_refused():
    with pytest.raises(
        UsageError, match=r"expected a region of \['brain', 'fluid', 'outside'\] for 0 \(background\)"
    ):
        LabelScheme([dataclasses.replace(AIR, region="sky")])
