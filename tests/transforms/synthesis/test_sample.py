"""A sample without an image says so."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.sample import Sample


def test_the_image_is_there_once_it_is_given():
    image = torch.ones(2, 3, 4)
    sample = Sample(torch.zeros(2, 3, 4, dtype=torch.int32)).with_image(image)
    assert sample.needed_image is image


def test_a_step_before_the_image_is_refused():
    with pytest.raises(UsageError, match="expected an image, got labels alone; put Intensities before"):
        _ = Sample(torch.zeros(2, 3, 4, dtype=torch.int32)).needed_image


def test_beyond_a_mask_all_is_zero():
    labels, kept = torch.full((2, 3, 4), 2, dtype=torch.int32), torch.zeros(2, 3, 4, dtype=torch.bool)
    kept[0, 1] = True
    found = Sample(labels, torch.rand(2, 3, 4) + 1, lesions=torch.ones(2, 3, 4)).within(kept)
    for volume in (found.labels, found.image, found.lesions):
        assert torch.equal(volume > 0, kept)
    assert found.labels.dtype == torch.int32
    assert Sample(labels, torch.rand(2, 3, 4)).within(kept).lesions is None
