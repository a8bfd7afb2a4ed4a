"""By what a label map or a scan is known again: its size, and a hash of its values."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["source_digests"]

_SLAB = 1 << 19  # voxels that are hashed at a time: few enough to stay in a processor's cache
_SHORT = torch.iinfo(torch.int16).max


def source_digests(sample: Sample, highest: int) -> dict[str, Any]:
    """``labels`` and ``real``, ``None`` if there is no scan, as ``{"size": [D, H, W], "sha256": of the values}``.

    The same on every device.

    Args:
        sample: before any step.
        highest: that its labels may be. What fits is hashed as 16-bit integers, in half the time.
    """
    narrow = torch.int16 if highest <= _SHORT else torch.int32
    real = None if sample.real is None else _digest(sample.real, torch.float32)
    return {"labels": _digest(sample.labels, narrow), "real": real}


def _digest(volume: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    digest, values = hashlib.sha256(), volume.flatten()
    for start in range(0, len(values), _SLAB):
        digest.update(values[start : start + _SLAB].to(dtype).cpu().numpy().data)
    return {"size": list(volume.shape), "sha256": digest.hexdigest()}
