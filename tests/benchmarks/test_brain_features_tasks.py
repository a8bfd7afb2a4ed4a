"""Tasks of one layer: it learns what the features know, and the scores are right at both ends."""

from __future__ import annotations

import pytest
import torch
from brain_features_heads import BIAS, RESOLUTION, SEGMENTATION, SYNTHESIS, Example
from brain_features_sources import Intensities
from brain_features_tasks import (
    TASKS,
    baseline_scores,
    error_but_for_mean,
    mean_dice,
    mean_error,
    scores,
    train,
)

from medkit.networks.subvoxel_unet import SubvoxelUNet

LIKE = SubvoxelUNet(3, 1, 2, (4, 8), (2,))


def of_image(make) -> list[Example]:
    """Heads whose tasks all want one thing that a function makes of the image."""
    rng, found = torch.Generator().manual_seed(0), []
    for _ in range(2):
        image = torch.rand(1, 1, 16, 16, 16, generator=rng)
        wanted = make(image)
        inside = torch.ones(16, 16, 16, dtype=torch.bool)
        found.append(Example(wanted[0, 0].long(), inside, dict.fromkeys(TASKS, (image, wanted))))
    return found


@pytest.mark.parametrize("task", [SYNTHESIS, BIAS, RESOLUTION])
def test_what_is_linear_in_the_intensities_is_learned_from_them(task):
    examples = of_image(lambda image: 0.3 - 0.5 * image)
    model = train(task, Intensities(LIKE), examples, 2, 300)
    assert max(scores(task, model, examples)) < 0.02
    assert min(baseline_scores(task, examples)) > 0.1


def test_classes_by_a_threshold_are_learned():
    examples = of_image(lambda image: (image > 0.5).long())
    model = train(SEGMENTATION, Intensities(LIKE), examples, 2, 300)
    assert min(scores(SEGMENTATION, model, examples)) > 0.95
    assert not baseline_scores(SEGMENTATION, examples)


def test_the_baseline_is_the_input_or_no_field():
    examples = of_image(lambda image: image + 0.25)
    for task in (SYNTHESIS, RESOLUTION):
        assert baseline_scores(task, examples) == pytest.approx([0.25] * 2)
    expected = [float((x.pairs[BIAS][1] - x.pairs[BIAS][1].mean()).abs().mean()) for x in examples]
    assert baseline_scores(BIAS, examples) == pytest.approx(expected)


def test_errors_count_inside_alone():
    wanted, inside = torch.zeros(1, 1, 2, 2, 2), torch.zeros(2, 2, 2, dtype=torch.bool)
    answer, inside[0] = wanted.clone(), True
    answer[..., 1, :, :] = 5
    assert mean_error(answer, wanted, inside) == 0
    assert error_but_for_mean(wanted + 3, wanted, inside) == 0
    answer[..., 0, 0, :] = 2
    assert mean_error(answer, wanted, inside) == 1
    assert error_but_for_mean(answer, wanted, inside) == 1


def test_dice_is_of_the_structures_that_are_there():
    classes = torch.zeros(1, 1, 2, 2, 2, dtype=torch.long)
    classes[..., 0] = 1
    logits = torch.zeros(1, 3, 2, 2, 2)
    logits[:, 1, :, :, 0] = 1
    inside = torch.ones(2, 2, 2, dtype=torch.bool)
    assert mean_dice(logits, classes, inside) == 1
    logits[:, 1, 0] = -1
    assert mean_dice(logits, classes, inside) == pytest.approx(2 / 3)
