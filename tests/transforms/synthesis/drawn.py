"""What tests of several steps need: a generator, many draws, and whether a proportion is what it should be."""

from __future__ import annotations

import json
import math

import torch

from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def many(step, number=2000, seed=0):
    """Parameters of so many samples."""
    source = rng(seed)
    return [step.draw(source) for _ in range(number)]


def assert_proportion(found, expected):
    """Booleans that are true as often as expected: within four standard deviations of the binomial distribution."""
    found = list(found)
    bound = 4 * math.sqrt(expected * (1 - expected) / len(found))
    assert abs(sum(found) / len(found) - expected) <= bound, f"{sum(found)} of {len(found)} for {expected}"


def assert_even(values, low, high):
    """Numbers that fill a range, with the mean and deviation of an even distribution."""
    values = torch.tensor(list(values), dtype=torch.float64)
    assert low <= values.min()
    assert values.max() <= high
    width = high - low
    assert abs(values.mean() - (low + high) / 2) < 4 * width / math.sqrt(12 * len(values))
    assert abs(values.std() / (width / math.sqrt(12)) - 1) < 0.1


def assert_recorded(step, parameters):
    """A record survives JSON and tells the same parameters."""
    record = step.record(parameters)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert step.parameters_from(json.loads(json.dumps(record))) == parameters


def phantom():
    """Labels and a smooth image of them."""
    labels = head()[0, 0]
    return Sample(labels, image=torch.sqrt(labels.to(torch.float32)) / 23)
