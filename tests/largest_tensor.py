"""The size of the largest tensor that is made within a block, to hold bounds of memory without timing or luck."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestTensor(TorchDispatchMode):
    """Numbers elements of the largest storage that an operation made; views of older ones do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor) and _address(leaf) not in given:
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
        return output


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
