"""Sliding-window inference that adds up the windows slab by slab and holds no map of their number.

The windows, their order, their padding and their weights are those of MONAI's ``SlidingWindowInferer``, and so
is the result to rounding. That one gives its result whole at the end, beside a map of weights as large as the
image, and cannot hand on a part that no later window touches.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from monai.utils import BlendMode, PytorchPadMode, convert_to_dst_type, ensure_tuple_rep, fall_back_tuple
from torch.nn import functional

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

__all__ = ["SlabInferer"]

Window = tuple[slice, ...]


class SlabInferer(Inferer):
    """Predict an image by overlapping windows, as MONAI's ``SlidingWindowInferer`` does.

    Args:
        roi_size: sides of a window, ``(D, H, W)`` or ``(H, W)``; one that is not above 0 is the image's.
        sw_batch_size: windows that the network gets at a time.
        overlap: of neighbouring windows, from 0 to below 1; one for all axes, or one each.
        mode: weight of a voxel in its window: ``gaussian`` or ``constant``.
        sigma_scale: standard deviation of the Gaussian, in sides of the window.
        padding_mode: of an image smaller than a window, as :func:`torch.nn.functional.pad` names it.
        cval: what ``constant`` padding pads with.
        sw_device: where the network computes; by default where the image is.
        device: where the sum of the windows is held, ``cpu`` to spare a GPU's memory; by default where the
            image is.
        reuse_constant: give a window of one value throughout (in each channel), such as air outside of the body
            once intensities are clipped, the output that the network had for the last window of that value.
            For a network that computes the same whenever asked this skips such windows and changes nothing.

    Attributes:
        on_windows: called with the number of windows of an image that are done and of all of them, as they are
            computed; nothing by default.

    Raises:
        UsageError: an overlap or a number of windows that cannot be.
        ValueError: a mode that there is not.
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int,
        sw_batch_size: int = 1,
        overlap: Sequence[float] | float = 0.25,
        mode: str = "constant",
        sigma_scale: Sequence[float] | float = 0.125,
        padding_mode: str = "constant",
        cval: float = 0.0,
        sw_device: torch.device | str | None = None,
        device: torch.device | str | None = None,
        reuse_constant: bool = False,
    ) -> None:
        overlaps = [overlap] if isinstance(overlap, (int, float)) else list(overlap)
        if not all(0 <= part < 1 for part in overlaps):
            raise UsageError(f"overlap: expected a part of a window from 0 to below 1, got {overlap}")
        if sw_batch_size < 1:
            raise UsageError(f"sw_batch_size: expected one window at least, got {sw_batch_size}")
        self.roi_size, self.sw_batch_size, self.overlap = roi_size, sw_batch_size, overlap
        self.mode, self.sigma_scale = BlendMode(mode), sigma_scale
        self.padding_mode, self.cval = PytorchPadMode(padding_mode), cval
        self.sw_device, self.device = sw_device, device
        self.reuse_constant = reuse_constant
        self.on_windows: Callable[[int, int], None] | None = None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` outputs, of the images' type and without gradients.

        Args:
            inputs: images in two or three dimensions; a ``MetaTensor`` gives one.
            network: ``(B, C, *roi_size)`` to ``(B, K, *roi_size)``.
            args: handed to the network.
            kwargs: handed to the network.

        Raises:
            UsageError: windows of another number of axes than the images, or an output that is no tensor of
                the window's size.
        """
        whole = [self._whole(image, network, *args, **kwargs) for image in _plain(inputs)]
        output = whole[0][None] if len(whole) == 1 else torch.stack(whole)
        like = (
            MetaTensor([]).copy_meta_from(inputs, copy_attr=False)
            if isinstance(inputs, MetaTensor)
            else inputs
        )
        placed: Tensor = convert_to_dst_type(output, like, dtype=output.dtype, device=output.device)[0]
        return placed

    def slabs(
        self, image: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Iterator[Tensor]:
        """The output for one image ``(C, *sizes)`` in slabs ``(K, n, *sizes[1:])`` along its first axis, in order.

        A slab is final: no later window reaches it. It may be written over once the next one is asked for, so
        that no more than the sides of one window are held at a time.
        """
        scan = _Scan(self, _plain(image))
        total = None
        for window, patch in scan.patches(network, *args, **kwargs):
            total = total or _Sum(patch, scan.sizes, rows=scan.roi[0])
            if window[0].start > total.start:
                yield from scan.inner(total.start, total.finished(scan, window[0].start))
                total.forget(window[0].start)
            total.add(window, patch, scan.weights)
        assert total is not None
        yield from scan.inner(total.start, total.finished(scan, scan.sizes[0]))

    def _whole(self, image: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        scan = _Scan(self, image)
        total = None
        for window, patch in scan.patches(network, *args, **kwargs):
            total = total or _Sum(patch, scan.sizes, rows=scan.sizes[0])
            total.add(window, patch, scan.weights)
        assert total is not None
        for start, stop in pairwise([*scan.starts, scan.sizes[0]]):
            total.start = start
            total.finished(scan, stop)
        return total.values[(slice(None), *scan.inside)]


class _Scan:
    """The windows of one image.

    Attributes:
        sizes: of the padded image.
        inside: where the image lies in it.
        roi: sides of a window.
        windows: in the order in which they are computed, the last axis fastest.
        starts: of the windows along the first axis.
        weights: of the voxels of a window.
    """

    def __init__(self, inferer: SlabInferer, image: Tensor) -> None:
        self.inferer = inferer
        sizes, wanted = image.shape[1:], inferer.roi_size
        if not isinstance(wanted, int) and len(wanted) != len(sizes):
            raise UsageError(
                f"roi_size: expected {len(sizes)} sides for an image of {len(sizes)} axes, got {tuple(wanted)}"
            )
        self.roi: tuple[int, ...] = fall_back_tuple(wanted, sizes)
        self.image, self.inside = _padded(image, self.roi, inferer.padding_mode, inferer.cval)
        self.sizes = tuple(self.image.shape[1:])
        self.windows: list[Window] = dense_patch_slices(self.sizes, self.roi, self._intervals())
        self.starts = sorted({window[0].start for window in self.windows})
        self.device = torch.device(inferer.sw_device or image.device)
        self.held_on = torch.device(inferer.device or image.device)
        self.weights: Tensor = compute_importance_map(
            self.roi, inferer.mode, inferer.sigma_scale, self.held_on, image.dtype
        )

    def _intervals(self) -> tuple[int, ...]:
        overlaps = ensure_tuple_rep(self.inferer.overlap, len(self.sizes))
        sides = zip(self.roi, self.sizes, overlaps, strict=True)
        return tuple(side if side == size else max(1, int(side * (1 - part))) for side, size, part in sides)

    def patches(
        self, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Iterator[tuple[Window, Tensor]]:
        """Every window with its output ``(K, *roi)``, as many computed at a time as the inferer says."""
        known: dict[tuple[float, ...], Tensor] = {}
        for begin in range(0, len(self.windows), self.inferer.sw_batch_size):
            windows = self.windows[begin : begin + self.inferer.sw_batch_size]
            inputs = [self.image[(slice(None), *window)] for window in windows]
            values = [self._constant(part) for part in inputs]
            new = [n for n, value in enumerate(values) if value is None or value not in known]
            outputs = dict(
                zip(new, self._compute([inputs[n] for n in new], network, *args, **kwargs), strict=True)
            )
            patches = [outputs[n] if n in outputs else known[value or ()] for n, value in enumerate(values)]
            for value, patch in zip(values, patches, strict=True):
                if value is not None and value not in known:
                    known = {value: patch.clone()}
            yield from zip(windows, patches, strict=True)
            if self.inferer.on_windows:
                self.inferer.on_windows(begin + len(windows), len(self.windows))

    def _constant(self, part: Tensor) -> tuple[float, ...] | None:
        """The value of each channel, if that is to be looked for and each has but one."""
        if not self.inferer.reuse_constant:
            return None
        low, high = torch.aminmax(part.flatten(1), dim=1)
        return tuple(low.tolist()) if torch.equal(low, high) else None

    def _compute(
        self, inputs: list[Tensor], network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        if not inputs:
            return torch.empty(0)
        batch = (torch.stack(inputs) if len(inputs) > 1 else inputs[0][None]).to(self.device)
        output = network(batch, *args, **kwargs)
        if not isinstance(output, torch.Tensor) or output.shape[2:] != batch.shape[2:]:
            got = (
                f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
            )
            raise UsageError(
                f"expected a network that gives a tensor (B, K, {', '.join(map(str, self.roi))}) for windows of "
                f"that size, got {got}; wrap the network, or use MONAI's SlidingWindowInferer"
            )
        return _plain(output).detach().to(self.held_on, self.image.dtype)

    def sum_of_weights(self, start: int, stop: int) -> Tensor:
        """``(stop - start, *sizes[1:])``: of all windows that see a voxel of these rows."""
        total = self.weights.new_zeros(stop - start, *self.sizes[1:])
        for first, *others in self.windows:
            low, high = max(first.start, start), min(first.stop, stop)
            if low < high:
                part = self.weights[low - first.start : high - first.start]
                total[(slice(low - start, high - start), *others)] += part
        return total

    def inner(self, start: int, slab: Tensor) -> Iterator[Tensor]:
        """The slab that starts at a row of the padded image, less what is padding; none if all is."""
        rows, *others = self.inside
        low, high = max(rows.start - start, 0), min(rows.stop - start, slab.shape[1])
        if low < high:
            yield slab[(slice(None), slice(low, high), *others)]


class _Sum:
    """Weighted outputs, added up in rows of the first axis from ``start`` on."""

    def __init__(self, patch: Tensor, sizes: tuple[int, ...], rows: int) -> None:
        self.values = patch.new_zeros(patch.shape[0], rows, *sizes[1:])
        self.start = self._offset = 0

    def add(self, window: Window, patch: Tensor, weights: Tensor) -> None:
        first, *others = window
        rows = slice(first.start - self._offset, first.stop - self._offset)
        self.values[(slice(None), rows, *others)].addcmul_(patch, weights)

    def finished(self, scan: _Scan, stop: int) -> Tensor:
        """The weighted mean in the rows up to ``stop``, in place."""
        slab = self.values[:, self.start - self._offset : stop - self._offset]
        slab /= scan.sum_of_weights(self.start, stop)
        return slab

    def forget(self, stop: int) -> None:
        """Make room for the rows that follow those up to ``stop``."""
        shift, rows = stop - self._offset, self.values.shape[1]
        for row in range(rows - shift):  # one at a time, so that no copy of the rest is held
            self.values[:, row] = self.values[:, row + shift]
        self.values[:, max(rows - shift, 0) :] = 0
        self.start = self._offset = stop


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _padded(image: Tensor, roi: tuple[int, ...], mode: str, value: float) -> tuple[Tensor, Window]:
    """The image, no smaller than a window, and where it lies in what was padded."""
    missing = [max(side - size, 0) for side, size in zip(roi, image.shape[1:], strict=True)]
    inside = tuple(slice(n // 2, n // 2 + size) for n, size in zip(missing, image.shape[1:], strict=True))
    if not any(missing):
        return image, inside
    ends = [end for n in reversed(missing) for end in (n // 2, n - n // 2)]
    # PyTorch pads with other than constants only what has a batch axis.
    padded = functional.pad(image[None], ends, mode, value if mode == "constant" else None)
    return padded[0], inside
