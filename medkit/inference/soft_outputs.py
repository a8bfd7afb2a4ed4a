"""Class probabilities on the grid of an image: whether a bundle has any, and what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import Activationsd, AsDiscreted, Invertd

from medkit.errors import UsageError
from medkit.inference.uncertainty import Confidence
from medkit.transforms.native_labels import NativeLabelsd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from medkit.data.grid import Grid
    from medkit.inference.members import Activation
    from medkit.inference.uncertainty import Agreement, Uncertainty
    from medkit.transforms.native_probabilities import NativeProbabilities

__all__ = ["SoftOutputs", "check_probabilities"]


def check_probabilities(steps: Sequence[Any], where: str) -> None:
    """Check that a bundle has class probabilities on the image's grid to give.

    Args:
        steps: of the postprocessing.
        where: the bundle, for messages.

    Raises:
        UsageError: no activation comes before the discretisation, or the inversion comes after it, and no
            NativeLabelsd does both; or that one takes no softmax, and no activation comes before it.
    """
    kinds = [type(step) for step in steps if isinstance(step, (Activationsd, AsDiscreted, Invertd))]
    for place, step in enumerate(steps):
        if isinstance(step, NativeLabelsd) and (
            step.softmax or any(isinstance(earlier, Activationsd) for earlier in steps[:place])
        ):
            return
    until = kinds.index(AsDiscreted) if AsDiscreted in kinds else len(kinds)
    if Activationsd not in kinds[:until] or Invertd in kinds[until:] or until == len(kinds):
        got = ", ".join(kind.__name__ for kind in kinds) or "none of them"
        raise UsageError(
            f"{where}: expected NativeLabelsd with softmax, or Activationsd and Invertd before AsDiscreted, in "
            f"'postprocessing', got {got}; ask for no probabilities"
        )


class SoftOutputs:
    """What is kept of one image's probabilities before they become labels.

    Args:
        activation: to take entropy and expected size by; ``None`` for not to.
        temperature: that calibrates the bundle, see :class:`medkit.transforms.calibration.SoftBoundaries`;
            ``None`` for what is not calibrated.
        keep: whether to keep them all.

    Attributes:
        probabilities: of each class, ``(I, J, K)`` on the CPU, once taken and where they are kept.
    """

    def __init__(self, activation: Activation | None, temperature: float | None, *, keep: bool) -> None:
        self.activation, self.temperature, self.keep = activation, temperature, keep
        self.probabilities: Tensor | NativeProbabilities | None = None
        self._confidence: Confidence | None = None

    def take(
        self, step: NativeLabelsd | AsDiscreted, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """Keep what is wanted.

        Args:
            step: the one that makes labels.
            before: what it was given.
            after: what it made of that.
        """
        if not self.keep and self.activation is None:
            return
        probabilities = self._on_image_grid(step, before, after)
        if self.activation:
            self._confidence = Confidence(probabilities, self.activation)
        if self.keep:
            self.probabilities = probabilities.cpu()

    def judge(
        self,
        labels: NDArray[np.unsignedinteger[Any]],
        names: Mapping[int, str],
        grid: Grid,
        agreement: Agreement | None,
    ) -> Uncertainty | None:
        """How sure the labels are, see :meth:`medkit.inference.uncertainty.Confidence.judge`; ``None`` if not wanted."""
        if self._confidence is None:
            return None
        return self._confidence.judge(labels, names, grid.voxel_volume_ml, agreement)

    def _on_image_grid(
        self, step: NativeLabelsd | AsDiscreted, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Tensor | NativeProbabilities:
        if isinstance(step, NativeLabelsd):
            return step.probabilities(
                before, "pred", after["pred"], self.temperature if step.softmax else None
            )
        plain: Tensor = before["pred"].as_subclass(torch.Tensor)
        return plain
