"""Four tasks of one layer on features that do not change: what it learns by, and how wrong it is on other heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from brain_features_heads import BIAS, RESOLUTION, SEGMENTATION, SYNTHESIS, Example
from monai.losses import DiceCELoss
from monai.metrics import compute_dice
from monai.networks.utils import one_hot
from torch import Tensor

from medkit.networks.features import FeatureNetwork
from medkit.networks.one_layer import OneLayer

CROP, RATE = 48, 0.03
AS_IT_IS, NO_FIELD = "the input as it is", "no field"


@dataclass(frozen=True)
class Task:
    """One of the four.

    Args:
        measure: what the figures are, in words.
        loss: of an answer, what is wanted and where.
        score: likewise.
        sees_image: whether the layer has the image beside the features.
        adds_to_image: whether the answer is the image and what the layer says.
        higher: whether more is better.
        baseline: what the answer without any layer is, in words; empty where there is none.
    """

    measure: str
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor, Tensor], float]
    sees_image: bool = False
    adds_to_image: bool = False
    higher: bool = False
    baseline: str = ""

    def base(self, image: Tensor) -> Tensor:
        """What the layer's output is added to."""
        return image if self.adds_to_image else torch.zeros_like(image)

    def without_layer(self, image: Tensor) -> Tensor:
        """The baseline's answer."""
        return image if self.baseline == AS_IT_IS else torch.zeros_like(image)


def mean_error(answer: Tensor, wanted: Tensor, inside: Tensor) -> float:
    return float((answer - wanted).abs()[..., inside].mean())


def error_but_for_mean(answer: Tensor, wanted: Tensor, inside: Tensor) -> float:
    """Of two logarithms of fields, whose mean no image tells."""
    off = (answer - wanted)[..., inside]
    return float((off - off.mean()).abs().mean())


def mean_dice(logits: Tensor, classes: Tensor, inside: Tensor) -> float:
    """Over the structures that are there."""
    count = logits.shape[1]
    found = compute_dice(
        one_hot(logits.argmax(1, keepdim=True), count), one_hot(classes, count), include_background=False
    )
    return float(found.nanmean())


def _l1_inside(answer: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Outside of the brain a tenth as much."""
    weights = torch.where(inside, 1.0, 0.1)
    return ((answer - wanted).abs() * weights).mean()


def _l1_brain(answer: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    return ((answer - wanted).abs() * inside).sum() / inside.sum().clamp_min(1)


def _dice_loss(answer: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    return DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)(answer, wanted)


_INTENSITY = "mean absolute error in the brain, in parts of the range of intensities"
TASKS = {
    SYNTHESIS: Task(_INTENSITY, _l1_inside, mean_error, baseline=AS_IT_IS),
    SEGMENTATION: Task("mean Dice over structures", _dice_loss, mean_dice, higher=True),
    BIAS: Task(
        "mean absolute error of the field's logarithm in the brain, but for its mean",
        _l1_brain,
        error_but_for_mean,
        sees_image=True,
        baseline=NO_FIELD,
    ),
    RESOLUTION: Task(
        _INTENSITY, _l1_inside, mean_error, sees_image=True, adds_to_image=True, baseline=AS_IT_IS
    ),
}


def train(
    name: str, source: FeatureNetwork, examples: Sequence[Example], classes: int, steps: int
) -> OneLayer:
    """A layer that learned from crops of some heads."""
    task, rng = TASKS[name], torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OneLayer(source, classes if name == SEGMENTATION else 1, int(task.sees_image)).train()
    kept = [model.features(example.pairs[name][0]) for example in examples]
    optimiser = torch.optim.Adam(model.layer.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        number = int(torch.randint(len(examples), (1,), generator=rng))
        coarse, fine = _crops(kept[number].shape[2:], source.block, rng)
        image, wanted = (part[(..., *fine)] for part in examples[number].pairs[name])
        optimiser.zero_grad()
        answer = task.base(image) + model.of_features(kept[number][(..., *coarse)], image)
        task.loss(answer, wanted, examples[number].inside[fine]).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def _crops(
    places: Sequence[int], block: int, rng: torch.Generator
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The same crop of a feature map and of its image."""
    coarse = []
    for size in places:
        side = min(CROP // block, size)
        start = int(torch.randint(size - side + 1, (1,), generator=rng))
        coarse.append(slice(start, start + side))
    return tuple(coarse), tuple(slice(part.start * block, part.stop * block) for part in coarse)


def answer(name: str, model: OneLayer, image: Tensor) -> Tensor:
    with torch.no_grad():
        return TASKS[name].base(image) + model(image)


def scores(name: str, model: OneLayer, examples: Sequence[Example]) -> list[float]:
    """Of each head."""
    found = []
    for example in examples:
        image, wanted = example.pairs[name]
        found.append(TASKS[name].score(answer(name, model, image), wanted, example.inside))
    return found


def baseline_scores(name: str, examples: Sequence[Example]) -> list[float]:
    """Of the answer without any layer; none where there is no such answer."""
    task = TASKS[name]
    given = [(example.pairs[name], example.inside) for example in examples if task.baseline]
    return [task.score(task.without_layer(image), wanted, inside) for (image, wanted), inside in given]
