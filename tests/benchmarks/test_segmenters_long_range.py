"""The task with a distant cue: beyond its reach a network can but guess, and one that reaches everywhere need not."""

from __future__ import annotations

import segmenters_long_range
import torch
from results import Results
from segmenters_long_range import BINS, Task, accuracy, reach, section, train, with_local_norms
from torch import nn

from medkit.networks import create

TASK = Task(steps=60, seeds=(0,), images=6)


def small(scan):
    torch.manual_seed(0)
    shape = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
    network = create("scan_unet", **shape, filters=(8, 16), strides=(2,), scan=scan)
    return with_local_norms(network)


def test_the_reach_of_convolutions():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 2, 5, padding=2))
    assert reach(network) == 3


def test_the_reach_is_that_along_the_strip():
    network = nn.Conv2d(1, 2, (3, 9), padding=(1, 4))
    assert (reach(network), reach(network, across=True)) == (4, 1)


def test_norms_over_the_image_reach_everywhere_and_are_replaced():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)
    )
    assert reach(network) is None
    assert reach(with_local_norms(network)) == 1


def test_who_does_not_see_the_cue_is_right_in_half_of_the_images():
    network = train(small(scan=False), TASK, 0)
    assert reach(network) < BINS[-1]
    for across in (False, True):
        near, *_, far = accuracy(network, TASK, across=across)
        assert near > 0.55
        assert far == 0.5


class Largest(nn.Module):
    """The largest value of all voxels, beside that of each."""

    def forward(self, x):
        return torch.cat([x, x.amax((2, 3), keepdim=True).expand_as(x)], 1)


def test_who_reaches_everywhere_can_do_it():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 7, padding=3), nn.ReLU(), Largest(), nn.Conv2d(16, 2, 1))
    assert reach(network) is None
    train(network, TASK, 0)
    for across in (False, True):
        assert min(accuracy(network, TASK, across=across)) > 0.9


def test_the_table_has_a_row_for_each_direction_and_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setitem(segmenters_long_range.TASKS, "short", Task(steps=2, seeds=(0,), images=1))
    monkeypatch.setattr(segmenters_long_range, "build", lambda *_, **__: small(scan=False))
    results = Results(tmp_path / "results.jsonl")
    text = section(results, "short", ["scan_unet", "unet"])
    assert [line.split(" | ")[:3] for line in text[-1].splitlines()[2:]] == [
        ["| scan_unet", "11", "along"],
        ["| scan_unet", "11", "across"],
    ]
    monkeypatch.setattr(segmenters_long_range, "measure", None)
    assert section(results, "short", ["scan_unet"]) == text
