"""The random numbers of a program: seeded, and drawn from each generator that medkit could disturb."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def draw() -> tuple[float, float, float]:
    """The next number of Python, of numpy and of PyTorch."""
    return random.random(), float(np.random.random()), float(torch.rand(()))
