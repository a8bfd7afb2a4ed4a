"""The part of `segmenters.py` on long range: a task that a network can do only as far as voxels hear of each other."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from results import Results
from segmenters_networks import MEASURE, TWINS, build, definition
from segmenters_phantoms import LARGEST_DISTANCE, LENGTH, TEST, TRAIN, WIDTH, Phantom, phantom
from segmenters_tables import table
from segmenters_training import code
from timing import note
from torch import Tensor, nn
from torch.nn import functional

SHAPE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
BATCH, LEARNING_RATE = 8, 2e-3
TRANSFORMER = "swin_unetr"
LABELS = [label for pair in TWINS.items() for label in pair] + [MEASURE, TRANSFORMER]
# Of which one is shown as it is, to show why the others are not.
SHOWN_WITH_ITS_NORMS = MEASURE
# Distances are counted in steps of so many voxels.
BIN = 16
BINS = range(0, LARGEST_DISTANCE + 1 - BIN, BIN)
_STRIP = 4 * LENGTH


@dataclass(frozen=True)
class Task:
    """How much is done.

    Args:
        steps: of training, with images that no step has twice.
        seeds: of weights and training images.
        images: to test by, in each direction and with either cue.
    """

    steps: int
    seeds: tuple[int, ...]
    images: int


_LONG = Task(400, (0, 1, 2), 100)
TASKS = {"short": Task(100, (0,), 24), "middle": _LONG, "full": _LONG}
TEST_SEED = 0
STRIPS = {"along": False, "across": True}


def with_local_norms(network: nn.Module) -> nn.Module:
    """The network with norms that are the same everywhere at inference, in place of norms over each image.

    The mean of a channel over an image tells every voxel of the cue, so that a plain U-Net would need no reach.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, nn.GroupNorm):
            setattr(network, name, nn.BatchNorm2d(child.num_channels))
        elif isinstance(child, nn.InstanceNorm2d):
            setattr(network, name, nn.BatchNorm2d(child.num_features))
        else:
            with_local_norms(child)
    return network


def reach(network: nn.Module, *, across: bool = False) -> int | None:
    """How far a voxel has influence on others along the strip; ``None`` if as far as strips are long, or farther.

    Args:
        network: whose norms do not tell voxels of each other.
        across: whether the strip's long axis is the first one, and not the last.
    """
    network.eval()
    image = torch.randn(1, 1, WIDTH, _STRIP, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = network(image.mT).mT if across else network(image)
    farthest = 0
    for column in range(
        _STRIP // 2, _STRIP // 2 + 32
    ):  # how far depends on where a voxel lies in the strides
        (gradient,) = torch.autograd.grad(logits[0, 0, WIDTH // 2, column], image, retain_graph=True)
        seen = gradient[0, 0].abs().amax(0).nonzero().flatten()
        farthest = max(farthest, int((seen - column).abs().max()))
    return None if farthest >= LENGTH else farthest


def train(network: nn.Module, task: Task, seed: int) -> nn.Module:
    """A plain loop: every other batch lies across."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=task.steps, pct_start=0.1
    )
    network.train()
    for step in range(task.steps):
        numbers = range(step * BATCH, (step + 1) * BATCH)
        phantoms = [phantom(seed, TRAIN, number, across=bool(step % 2)) for number in numbers]
        logits = network(images(phantoms))
        kinds = torch.tensor([each.kind for each in phantoms])[:, None, None].expand(-1, *logits.shape[2:])
        loss = functional.cross_entropy(logits, kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def images(phantoms: Iterable[Phantom]) -> Tensor:
    return torch.from_numpy(np.stack([each.image for each in phantoms]))[:, None]


def test_set(task: Task, *, across: bool) -> Iterator[list[Phantom]]:
    """Each image with either cue, so that who does not see it is right in half of them."""
    for number in range(task.images):
        yield [phantom(TEST_SEED, TEST, number, across=across, swapped=swapped) for swapped in (False, True)]


def accuracy(network: nn.Module, task: Task, *, across: bool) -> list[float]:
    """Share of voxels that are right, by distance from the cue, of `BINS`."""
    right: list[list[float]] = [[] for _ in BINS]
    for phantoms in test_set(task, across=across):
        with torch.no_grad():
            answers = network(images(phantoms)).argmax(1).numpy()
        for each, answer in zip(phantoms, answers, strict=True):
            for place, start in enumerate(BINS):
                at = (start <= each.distance) & (each.distance < start + BIN)
                right[place].append(float((answer[at] == each.kind).mean()))
    return [fmean(values) for values in right]


def measure(label: str, task: Task, seed: int, *, local: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    network = build(label, **SHAPE)
    network = with_local_norms(network) if local else network
    start = time.perf_counter()
    train(network, task, seed)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "reach": {strip: reach(network, across=across) for strip, across in STRIPS.items()},
        **{strip: accuracy(network, task, across=across) for strip, across in STRIPS.items()},
    }


def section(results: Results, form: str, labels: Iterable[str]) -> list[str]:
    """Paragraphs and a table."""
    task, wanted = TASKS[form], set(labels)
    rows = [(label, True) for label in LABELS if label in wanted]
    rows += [(SHOWN_WITH_ITS_NORMS, False)] if SHOWN_WITH_ITS_NORMS in wanted else []
    lines = []
    for label, local in rows:
        found = []
        for seed in task.seeds:
            note(f"distance  {label}, seed {seed}{'' if local else ', with its own norms'}")
            settings = {
                "what": "long range",
                "seed": seed,
                "local": local,
                **asdict(task),
                **_settings(label),
            }
            found.append(
                results.get_or_make(
                    settings,
                    lambda label=label, seed=seed, local=local: measure(label, task, seed, local=local),
                )
            )
        name = label if local else f"{label}, its own norms"
        lines += [_line(name, direction, found) for direction in STRIPS]
    seeds = "1 seed" if len(task.seeds) == 1 else f"{len(task.seeds)} seeds"
    head = ["network", "reach", "strip", *(f"{start} to {start + BIN - 1}" for start in BINS)]
    text = (
        f"Strips of {WIDTH} x {LENGTH} voxels (2D forms of the same networks) of noise with a disc near one end, dark "
        "or bright, that decides the class of every voxel. The table has the share of voxels that are right by their "
        "distance from the disc along the strip, in voxels; test images come with either disc, so that who does not see "
        "it is right in 0.500 of them. Along: the strip's long axis is the last one, along which a raster scan runs; "
        "across: the first. Reach: how far away along the strip a voxel can lie that has any influence on another "
        f"one, with the weights of each seed. {task.steps} steps of {BATCH} images, {seeds}. Norms "
        "over an image are replaced by batch norms, which at inference are the same everywhere: the mean of a channel "
        f"over the image tells all voxels of the disc (last rows: {SHOWN_WITH_ITS_NORMS} as it is). Squeeze and "
        "excitation, which mobile_mamba has with and without its scan, does so too and stays. umamba scans the image "
        "as one sequence after a convolution over that, and without its scan keeps the convolution: there the end of a "
        "row has influence on the beginning of the next, which the reach, counted within a row, leaves out."
    )
    return ["## Long range", text, table(head, lines)]


def _settings(label: str) -> dict[str, Any]:
    return {
        "network": definition(label, **SHAPE),
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "size": [WIDTH, LENGTH],
        "code": code(),
    }


def _line(name: str, direction: str, found: list[dict[str, Any]]) -> list[str]:
    reaches = [values["reach"][direction] for values in found]
    shown = dict.fromkeys("all" if farthest is None else str(farthest) for farthest in reaches)
    by_bin = zip(*(values[direction] for values in found), strict=True)
    return [name, ", ".join(shown), direction, *(f"{fmean(values):.3f}" for values in by_bin)]
