"""A structure's median is brought to a level, whatever is about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.level_intensity import LevelIntensityd

SIZES = (6, 7, 5)


def item(channels=1):
    image = torch.rand(channels, *SIZES, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, *SIZES, dtype=torch.bool)
    mask[0, 2:5, 1:4, 2:3] = True  # nine, so that one of them is the median
    return {"image": image, "mask": mask, "other": 1}


def test_the_median_within_the_mask_is_as_asked_and_differences_stay():
    given = item(channels=2)
    made = LevelIntensityd("image", "mask", -0.6)(given)
    for before, after in zip(given["image"], made["image"], strict=True):
        assert after[given["mask"][0]].median() == pytest.approx(-0.6)
        torch.testing.assert_close(after - after[0, 0, 0], before - before[0, 0, 0])
    assert made["other"] == 1
    assert torch.equal(given["image"], item(channels=2)["image"])


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.uint8])
def test_a_mask_of_numbers_is_one_as_well(kind):
    given = item()
    level = LevelIntensityd("image", "mask", -0.6)
    made, plain = level({**given, "mask": given["mask"].to(kind)}), level(given)
    torch.testing.assert_close(made["image"], plain["image"], rtol=0, atol=0)


def test_arrays_are_levelled_alike():
    given = item()
    made = LevelIntensityd("image", "mask", -0.6)({key: np.asarray(given[key]) for key in ("image", "mask")})
    torch.testing.assert_close(
        torch.as_tensor(made["image"]),
        LevelIntensityd("image", "mask", -0.6)(given)["image"],
        check_dtype=False,
    )


def test_what_is_about_it_does_not_matter():
    one, other = item(), item()
    other["image"] = torch.where(other["mask"], other["image"], -5.0)
    made = [LevelIntensityd("image", "mask", 0.0)(each)["image"][one["mask"]] for each in (one, other)]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, "got none"),
        (torch.zeros(1, *SIZES, dtype=torch.bool), r"got 0 voxels of \(1, 6, 7, 5\)"),
        (torch.ones(1, 6, 7, 4, dtype=torch.bool), r"got 168 voxels of \(1, 6, 7, 4\)"),
        (torch.ones(2, *SIZES), r"got 420 voxels of \(2, 6, 7, 5\)"),
    ],
)
def test_no_mask_is_refused(mask, words):
    given = {**item(), "mask": mask}
    with pytest.raises(UsageError, match=rf"mask of \(1, 6, 7, 5\) with voxels at 'mask', {words}; pass"):
        LevelIntensityd("image", "mask", 0.0)(given)


def test_keys_may_be_missing():
    assert LevelIntensityd("seen", "mask", 0.0, allow_missing_keys=True)({"mask": None}) == {"mask": None}
