"""Muon for the layers that mix channels, and AdamW for the rest.

Muon makes the momentum of a layer's weights orthogonal, so that all directions learn at one pace (Jordan 2024,
https://kellerjordan.github.io/posts/muon/; the weights of a convolution as a matrix, a row an output channel). It is
for trainings of few steps, of which it makes more than AdamW: see ``benchmarks/segmenters_training.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytorch_optimizer import Muon

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["muon"]


def muon(
    parameters: Iterable[nn.Parameter], lr: float = 0.03, rest_lr: float = 3e-3, weight_decay: float = 1e-2
) -> Optimizer:
    """An optimizer with two groups of parameters: with more than one axis, and the rest.

    Tables of a number for each channel, such as the rates of a state-space layer, have two axes and mix nothing: what
    has the attribute ``_no_weight_decay``, which Mamba's authors gave them, belongs to the rest.

    Schedules must scale what each group begins with, as ``monai.optimizers.WarmupCosineSchedule`` does, rather than set
    one rate for both.

    Args:
        parameters: of a network.
        lr: of weights, for Muon; the spectral norm of an update is about this, whatever the gradient, and more where
            a layer has more channels than it is given.
        rest_lr: of biases, scales and other vectors, for AdamW.
        weight_decay: of weights, a step: times the rate.
    """
    given = list(parameters)
    weights = [parameter for parameter in given if _mixes_channels(parameter)]
    rest = [parameter for parameter in given if not _mixes_channels(parameter)]
    groups = [
        {"params": weights, "lr": lr, "weight_decay": weight_decay, "use_muon": True},
        {"params": rest, "lr": rest_lr, "weight_decay": 0.0, "use_muon": False},
    ]
    optimizer: Optimizer = Muon([group for group in groups if group["params"]])
    return optimizer


def _mixes_channels(parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not getattr(parameter, "_no_weight_decay", False)
