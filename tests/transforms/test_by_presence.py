"""Items of two kinds: each has its own transform, cached or drawn from the seed of the whole."""

from __future__ import annotations

import torch
from monai.data import CacheDataset
from monai.transforms import Compose, Lambdad, RandAdjustContrastd, RandGaussianNoised

from medkit.data.keyed import KeyedDataset
from medkit.transforms.by_presence import ByPresenced, RandByPresenced


def test_each_item_has_the_transform_of_its_kind():
    both = ByPresenced(
        "image", Lambdad("image", lambda value: value + 1), Lambdad("label", lambda value: -value)
    )
    assert both({"image": 1, "label": 2}) == {"image": 2, "label": 2}
    assert both({"label": 2}) == {"label": -2}


def test_a_cache_keeps_what_is_not_random():
    calls = []

    def counted(value: int) -> int:
        calls.append(value)
        return value

    items = [{"image": 1}, {"label": 2}]
    both = ByPresenced("image", Lambdad("image", counted), Lambdad("label", counted))
    dataset = CacheDataset(items, Compose([both]), num_workers=0, progress=False)
    assert [dataset[0], dataset[1], dataset[0]] == [{"image": 1}, {"label": 2}, {"image": 1}]
    assert calls == [1, 2]


def test_a_draw_is_a_function_of_its_key_in_both_kinds():
    noise = Compose([RandGaussianNoised("image", prob=1.0), RandAdjustContrastd("image", prob=0.5)])
    random = RandByPresenced("image", noise, RandGaussianNoised("label", prob=1.0))
    items = [{"image": torch.ones(1, 4, 4, 4)}, {"label": torch.zeros(1, 4, 4, 4)}]
    drawn = [
        {key: KeyedDataset(items, random, seed=5)[key] for key in order}
        for order in ([(0, 0), (1, 1), (2, 0)], [(2, 0), (0, 0), (1, 1)])
    ]
    for key, item in drawn[0].items():
        for name, value in item.items():
            assert torch.equal(value, drawn[1][key][name])
    assert not torch.equal(drawn[0][0, 0]["image"], drawn[0][2, 0]["image"])
    assert not torch.equal(drawn[0][1, 1]["label"], items[1]["label"])
