"""Where the kernels written in Triton compute."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["serve"]

_LOGGER = logging.getLogger(__name__)


def serve(x: Tensor) -> bool:
    """Whether Triton kernels compute what lies where ``x`` does; one line in the log where Triton is missing."""
    # An AMD card is a "cuda" device as well; the kernels are written and tested for NVIDIA's compiler.
    return x.device.type == "cuda" and torch.version.hip is None and _is_installed()


@cache
def _is_installed() -> bool:
    found = find_spec("triton") is not None
    if not found:
        _LOGGER.warning("triton is not installed: PyTorch computes medkit's operators on the GPU, slower")
    return found
