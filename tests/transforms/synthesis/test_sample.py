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
