"""A network's labels on the grid of the image's file, from windows straight to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.inferers import Inferer

from medkit.errors import UsageError
from medkit.transforms.native_labels import NativeGrid

if TYPE_CHECKING:
    from collections.abc import Callable

    from monai.transforms import InvertibleTransform
    from torch import Tensor

    from medkit.inference.sliding_window import SlabInferer

__all__ = ["NativeLabelInferer", "check_gives_scores"]


class NativeLabelInferer(Inferer):
    """Predict labels on the grid that an image had in its file, a slab of class scores at a time.

    In a config it takes the place of the inferer and of all postprocessing but ``SaveImaged``. No class scores of
    the whole image are ever held, neither on the network's grid nor on the file's, and so there is nothing to average
    over mirror images or networks, and there are no probabilities and no uncertainty to be asked for.

    Args:
        windows: the sliding window.
        transform: the preprocessing, see :class:`medkit.transforms.native_labels.NativeLabelsd`.
        softmax: see there.
        orig_key: of the image in the preprocessing.
    """

    def __init__(
        self, windows: SlabInferer, transform: InvertibleTransform, *, softmax: bool, orig_key: str = "image"
    ) -> None:
        self.windows, self.transform, self.softmax, self.orig_key = windows, transform, softmax, orig_key
        self.roi_size, self.sw_batch_size = windows.roi_size, windows.sw_batch_size

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> MetaTensor:
        """``(B, C, *sizes)`` preprocessed images to ``(B, 1, I, J, K)`` labels.

        Raises:
            UsageError: the images have no metadata, or not one grid in their files; a preprocessing that is not
                understood; or scores that are not finite, or of one class.
        """
        if not isinstance(inputs, MetaTensor):
            raise UsageError(
                "expected an image with metadata (a MetaTensor), got a plain tensor; keep its metadata"
            )
        items = []
        for image in decollate_batch(inputs):
            grid = NativeGrid(image, self.transform, self.orig_key)
            slabs = self.windows.slabs(image, network, *args, **kwargs)
            items.append({"labels": grid.labels(slabs, softmax=self.softmax)})
        shapes = {tuple(item["labels"].shape) for item in items}
        if len(shapes) > 1:
            raise UsageError(
                f"expected images of one shape in a batch, got {sorted(shapes)}; let the batch size be 1"
            )
        batch: MetaTensor = list_data_collate(items)["labels"]  # stacked, each with metadata of its own
        return batch


def check_gives_scores(inferer: Any, asked: str, where: str) -> None:
    """Check that an inferer hands on the class scores that something is to be made of.

    Args:
        inferer: of the bundle.
        asked: what is to be made of them, for messages.
        where: the bundle, likewise.

    Raises:
        UsageError: it gives labels.
    """
    if isinstance(inferer, NativeLabelInferer):
        raise UsageError(
            f"{where}: expected an inferer that gives class scores, for {asked}, got NativeLabelInferer, which gives "
            f"labels and holds no scores; predict without {asked}, or give the bundle SlabInferer as its inferer and "
            "NativeLabelsd in its postprocessing"
        )
