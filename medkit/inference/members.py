"""The mean over several opinions on one image: mirrored copies of it, and networks of several trainings.

The mean of the probabilities is that of Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive
uncertainty estimation using deep ensembles", arXiv:1612.01474, section 2.4.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd
from monai.utils import convert_to_dst_type

from medkit.errors import UsageError
from medkit.inference.native_labels import NativeLabelInferer
from medkit.inference.sliding_window import SlabInferer
from medkit.transforms.native_labels import NativeLabelsd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from medkit.inference.mirroring import Mirror, Mirroring
    from medkit.inference.uncertainty import Agreement

__all__ = ["Activation", "Members", "find_activation", "watched_windows"]

Activation = Literal["softmax", "sigmoid"]
_BLOCK = 2**22  # numbers of a block that is worked on at a time, so that no third copy of all classes is made
_SMALLEST = {"softmax": torch.finfo(torch.float32).tiny, "sigmoid": 2.0**-24}


def find_activation(steps: Iterable[Any], where: str) -> Activation:
    """Which activation the bundle's postprocessing begins with.

    Args:
        steps: of the postprocessing.
        where: the bundle, for messages.

    Raises:
        UsageError: none, or another than softmax and sigmoid: what the network's output means is not known then.
    """
    got = "none"
    for step in steps:
        if isinstance(step, NativeLabelsd) and step.softmax:
            return "softmax"
        if isinstance(step, Activationsd) and "pred" in step.keys:
            place = step.keys.index("pred")
            softmax, sigmoid, other = step.softmax[place], step.sigmoid[place], step.other[place]
            if bool(softmax) != bool(sigmoid) and other is None:
                return "softmax" if softmax else "sigmoid"
            got = f"softmax={softmax}, sigmoid={sigmoid}, other={other}"
            break
    raise UsageError(
        f"{where}: expected NativeLabelsd with softmax, or Activationsd with softmax or sigmoid, for 'pred' in "
        f"'postprocessing', whose probabilities can be averaged, got {got}; predict with one network and no flips, "
        "or give the bundle that step"
    )


@contextmanager
def watched_windows(
    inferer: Any, members: Members | None, on_windows: Callable[[int, int], None] | None
) -> Iterator[None]:
    """Hear of the windows of one image, those of all members together; of other inferers than medkit's, nothing.

    Args:
        inferer: of the bundle, which runs once a member.
        members: what is averaged over; ``None`` for the network's one opinion.
        on_windows: called with the number of windows that are done and of all.
    """
    windows = inferer.windows if isinstance(inferer, NativeLabelInferer) else inferer
    if on_windows is None or not isinstance(windows, SlabInferer):
        yield
        return
    count, before = len(members) if members else 1, 0

    def add_up(done: int, total: int) -> None:
        nonlocal before
        on_windows(before + done, count * total)
        before += total if done == total else 0

    windows.on_windows = add_up
    try:
        yield
    finally:
        windows.on_windows = None


@dataclass(frozen=True)
class Members:
    """Mean of the class probabilities over mirrored copies and networks.

    Each member sees the whole image, window by window as the bundle's own inferer has it; then the next. That
    keeps the mean unchanged when the image is mirrored, which the mean of each window would not: windows do not
    lie symmetrically. Two arrays of all classes are held, however many members there are.

    Args:
        mirroring: the copies.
        activation: see :func:`find_activation`.
        weights: state of each network, in host memory: one network computes at a time, with the one and then the
            other. None where the network's own weights are all.
    """

    mirroring: Mirroring
    activation: Activation
    weights: tuple[dict[str, Tensor], ...] = ()

    def __len__(self) -> int:
        return len(self.mirroring) * max(len(self.weights), 1)

    def mean(
        self,
        image: Tensor,
        affine: NDArray[np.float64] | None,
        network: nn.Module,
        inferer: Callable[[Tensor, nn.Module], Any],
        agreement: Agreement | None = None,
    ) -> Tensor:
        """Mean probabilities, as what the bundle's activation makes these very numbers of.

        Args:
            image: ``(1, C, *spatial)``, preprocessed.
            affine: see :meth:`medkit.inference.mirroring.Mirroring.mirrors`; not needed without any mirror.
            network: gives logits.
            inferer: the bundle's own.
            agreement: learns what each member has to say.

        Returns:
            ``(1, K, *spatial)`` in float32: logarithms of the probabilities for a softmax, logits for a sigmoid.

        Raises:
            TypeError: the inferer gives no single tensor.
        """
        total: Tensor | None = None
        for mirror in self._opinions(network, affine):
            output = inferer(mirror.apply(image), network)
            if not isinstance(output, torch.Tensor):
                raise TypeError(f"expected one tensor from the inferer, got {type(output).__name__}")
            plain = output.as_subclass(torch.Tensor)
            if total is None:
                # The image itself comes first: what is remarked of a mirror image has its sides exchanged.
                total = torch.zeros(plain.shape, dtype=torch.float32, device=plain.device)
                like = (
                    MetaTensor([]).copy_meta_from(output)
                    if isinstance(output, MetaTensor)
                    else torch.empty(0)
                )
            if agreement:
                agreement.begin_member()
            for block, probabilities in self._probabilities(plain, mirror):
                total[:, :, block] += probabilities
                if agreement:
                    agreement.add(probabilities)
            del output, plain  # or they would live on while the next ones are made
        assert total is not None
        mean: Tensor = self._before_activation(total.div_(len(self)))
        return convert_to_dst_type(mean, like, dtype=mean.dtype, device=mean.device)[0]  # type: ignore[no-any-return]

    def _opinions(self, network: nn.Module, affine: NDArray[np.float64] | None) -> Iterator[Mirror]:
        """Each mirror, once with each of the weights in the network."""
        for weights in self.weights or ({},):
            if weights:
                network.load_state_dict(weights)
            yield from self.mirroring.mirrors(affine)

    def _probabilities(self, output: Tensor, mirror: Mirror) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of planes, as they lie in the image, and the probabilities in them."""
        length = output.shape[2]
        planes = max(1, _BLOCK * length // output.numel())
        for start in range(0, length, planes):
            stop = min(start + planes, length)
            logits = mirror.undo(output, start, stop).float()
            yield slice(start, stop), logits.softmax(1) if self.activation == "softmax" else logits.sigmoid()

    def _before_activation(self, mean: Tensor) -> Tensor:
        """In place; far from 0 and 1, where the logarithm would be infinite."""
        smallest = _SMALLEST[self.activation]
        if self.activation == "softmax":
            return mean.clamp_(min=smallest).log_()
        return mean.clamp_(smallest, 1 - smallest).logit_()
