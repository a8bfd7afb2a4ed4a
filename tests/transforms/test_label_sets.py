"""Label maps of another tool in a chain of transforms: numbers of sets, on the grid and of the type that they had."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd

from medkit.data.label_sets import LabelSets
from medkit.errors import UsageError
from medkit.transforms.label_sets import ComparableLabelsd, LabelSetsd

AFFINE = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))


@pytest.fixture
def sets() -> LabelSets:
    table = [
        {"values": [0], "classes": ["background", "fluid"]},
        {"values": [7], "classes": ["stem"]},
        {"values": [9], "classes": ["stem", "fluid"]},
    ]
    return LabelSets({0: "background", 1: "stem", 2: "fluid"}, table)


def labels(values: list[float], dtype=torch.float32) -> MetaTensor:
    return MetaTensor(torch.tensor(values, dtype=dtype).view(1, -1, 1, 1), affine=AFFINE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int32])
def test_values_become_numbers_of_sets(sets: LabelSets, dtype):
    given = {"label": labels([0, 7, 9], dtype), "image": 1}
    found = LabelSetsd(["label", "truth"], sets)(given)
    members = [sets.sets[int(number)] for number in found["label"].flatten()]
    assert members == [(0, 2), (1,), (1, 2)]
    assert found["label"].dtype == dtype
    assert torch.equal(found["label"].affine, AFFINE)
    assert found["image"] == 1
    assert given["label"].flatten().tolist() == [0, 7, 9], "the given item stays as it is"


def test_the_case_with_a_strange_value_is_named(sets: LabelSets):
    with pytest.raises(UsageError, match=r"label map of one: expected values of the table .*, got 8"):
        LabelSetsd("label", sets)({"case": "one", "label": labels([0, 8])})


def test_a_crop_around_all_that_is_no_background(sets: LabelSets):
    item = {"label": labels([0, 0, 0, 7, 9, 0, 0, 0, 0])}
    crop = CropForegroundd(
        "label", source_key="label", select_fn=sets.foreground, margin=(1, 0, 0), allow_smaller=True
    )
    found = Compose([LabelSetsd("label", sets), crop])(item)["label"]
    assert found.shape == (1, 4, 1, 1)
    assert found.affine[0, 3] == 2 * 2.0


def test_what_cannot_be_compared_is_background_in_both(sets: LabelSets):
    truth = LabelSetsd("truth", sets)({"truth": labels([0, 0, 7, 7, 9, 9])})["truth"]
    found = ComparableLabelsd("pred", sets)({"pred": labels([2, 1, 1, 2, 2, 0]), "truth": truth})
    assert found["pred"].flatten().tolist() == [0, 1, 1, 2, 0, 0]
    assert found["truth"].flatten().tolist() == [0, 0, 1, 1, 0, 0]
    assert torch.equal(found["pred"].affine, AFFINE)
