"""Labels and their place, from what a bundle's last step gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medkit.data import Grid, Volume
from medkit.data.monai_io import volume_metadata
from medkit.errors import CaseError
from medkit.inference.output import output_grid, output_labels
from tests.phantoms import OBLIQUE, SHAPE, hippocampus

IMAGE, LABELS = hippocampus()
VOLUME = Volume(IMAGE, Grid(SHAPE, OBLIQUE))


def placed(array=LABELS[None], affine=OBLIQUE):
    return MetaTensor(
        torch.as_tensor(array), meta={**volume_metadata(VOLUME), "affine": torch.tensor(affine)}
    )


def test_one_channel_is_a_label_map_and_several_are_masks():
    np.testing.assert_array_equal(output_labels(torch.from_numpy(LABELS[None]).float(), VOLUME), LABELS)
    masks = np.stack([LABELS == 1, LABELS == 2])
    found = output_labels(torch.from_numpy(masks).float(), VOLUME)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.moveaxis(masks, 0, -1))


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (torch.zeros(SHAPE), "output-not-3d"),
        (torch.full((1, *SHAPE), 0.5), "output-not-labels"),
        (torch.full((1, *SHAPE), -1.0), "output-not-labels"),
    ],
)
def test_output_that_is_no_label_map(output, code):
    with pytest.raises(CaseError) as caught:
        output_labels(output, VOLUME)
    assert caught.value.code == code


def test_output_in_the_place_of_the_image_has_its_very_grid():
    grid, notes = output_grid(placed(affine=OBLIQUE * (1 + 1e-9)), VOLUME)
    assert grid is VOLUME.grid
    assert notes == []


@pytest.mark.parametrize(
    "output", [placed(affine=OBLIQUE @ np.diag([-1.0, 1, 1, 1])), placed(LABELS[None, ::2])]
)
def test_output_elsewhere_has_a_grid_of_its_own(output):
    grid, (note,) = output_grid(output, VOLUME)
    assert grid.shape == output.shape[1:]
    np.testing.assert_array_equal(grid.affine, output.affine)
    assert "does not return to the image's grid" in note


@pytest.mark.parametrize("output", [torch.as_tensor(LABELS[None]), MetaTensor(LABELS[None])])
def test_output_without_a_place(output):
    with pytest.raises(CaseError) as caught:
        output_grid(output, VOLUME)
    assert caught.value.code == "output-without-place"
