"""Places along an axis: between neighbours, on a voxel, beyond the ends."""

from __future__ import annotations

import torch

from medkit.ops.interpolated_argmax import Places


def test_places_between_on_and_beyond():
    places = Places.of(torch.tensor([-2.0, 0.0, 0.25, 1.0, 2.75, 3.0, 9.0], dtype=torch.float64), 4)
    assert len(places) == 7
    assert places.low.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert places.high.tolist() == [0, 0, 1, 1, 3, 3, 3]
    assert places.weight.tolist() == [0, 0, 0.25, 0, 0.75, 0, 0]
    assert (places.low.dtype, places.weight.dtype) == (torch.int32, torch.float32)


def test_one_voxel():
    places = Places.of(torch.tensor([-1.0, 0.4, 5.0], dtype=torch.float64), 1)
    assert places.low.tolist() == places.high.tolist() == [0, 0, 0]


def test_on_a_device():
    moved = Places.of(torch.tensor([0.5], dtype=torch.float64), 2).to(torch.device("meta"))
    assert {moved.low.device.type, moved.high.device.type, moved.weight.device.type} == {"meta"}
