"""Keep a training from learning from uninitialised memory."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from medkit.ops.shallow_convolution import missing_room

__all__ = ["ShallowGridGuard"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class ShallowGridGuard(Callback):
    """Give convolutions whose image is too short for them, where PyTorch's gradients are wrong on a CPU, more zeros.

    The numbers stay the same, and such a layer sees so few voxels that its second computation costs little. To refuse
    it would rule out small patches and large kernels. What is wrong, and where:
    :mod:`medkit.ops.shallow_convolution`.
    """

    def __init__(self) -> None:
        self._hooks: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what each convolution is given."""
        if pl_module.device.type == "cpu":
            for layer in pl_module.modules():
                if isinstance(layer, _CONVOLUTIONS):
                    self._hooks.append(layer.register_forward_hook(_with_room))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the network as it was."""
        while self._hooks:
            self._hooks.pop().remove()


def _with_room(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The output, of an image with zeros behind it where it would be too short, without what they added."""
    assert isinstance(layer, _CONVOLUTIONS)
    kernel, image = layer.kernel_size, output if layer.transposed else inputs[0]
    missing = missing_room(kernel, layer.dilation, layer.stride, image.shape[-len(kernel) :])
    if layer.padding_mode != "zeros" or not any(missing):
        return output
    if layer.transposed:  # one voxel of the input is a stride of the output
        missing = [-(-voxels // stride) for voxels, stride in zip(missing, layer.stride, strict=True)]
    behind = [margin for voxels in reversed(missing) for margin in (0, voxels)]
    wide: Tensor = layer.forward(functional.pad(inputs[0], behind))
    for axis, size in enumerate(output.shape):
        wide = wide.narrow(axis, 0, size)
    return wide
