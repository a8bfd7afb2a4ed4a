"""Keep a training from learning from uninitialised memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning import Callback, LightningModule, Trainer

from medkit.ops.shallow_convolution import give_room

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["ShallowGridGuard"]


class ShallowGridGuard(Callback):
    """Give convolutions whose image is too short for them, where PyTorch's gradients are wrong on a CPU, more zeros.

    What is wrong, and where: :mod:`medkit.ops.shallow_convolution`.
    """

    def __init__(self) -> None:
        self._hooks: list[RemovableHandle] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what each convolution is given."""
        if pl_module.device.type == "cpu":
            self._hooks = give_room(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the network as it was."""
        while self._hooks:
            self._hooks.pop().remove()
