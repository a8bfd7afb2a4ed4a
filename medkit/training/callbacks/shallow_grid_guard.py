"""Stop a training that would learn from uninitialised memory.

On processors with AVX512-BF16, torch 2.13's weight gradient of a padded 3x3x3 convolution over channels-last
bfloat16 maps that are two voxels deep reads memory that nobody wrote (found by poisoning the allocator with
NaN; other depths, float32 and contiguous maps are clean). The gradient is wrong, and only sometimes NaN.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from medkit.errors import UsageError

__all__ = ["ShallowGridGuard"]

_FAULTY_DEPTH = 2


class ShallowGridGuard(Callback):
    """Watch the first training batch for a convolution that the fault strikes.

    Raises:
        UsageError: from the first batch, with the layer and what to change.
    """

    def __init__(self) -> None:
        self._hooks: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what each 3D convolution is given."""
        if pl_module.device.type != "cpu":
            return
        for name, layer in pl_module.network.named_modules():
            if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
                self._hooks.append(layer.register_forward_hook(_refuse_shallow(name)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One batch tells: patches all have one size."""
        while self._hooks:
            self._hooks.pop().remove()


def _refuse_shallow(name: str) -> Any:
    def refuse(layer: nn.Conv3d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        depth = inputs[0].shape[2]
        if output.dtype == torch.bfloat16 and depth == _FAULTY_DEPTH and _is_channels_last(layer.weight):
            raise UsageError(
                f"layer '{name}' sees a feature map {depth} voxels deep in bfloat16, where this processor's "
                "gradients are wrong; use a patch_size at least three times the network's total stride, "
                "or --set train::trainer::precision=32-true"
            )

    return refuse


def _is_channels_last(weight: torch.Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last_3d) and not weight.is_contiguous()
