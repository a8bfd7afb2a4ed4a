"""Every network of the registry, made small."""

from __future__ import annotations

from typing import Any

import pytest


class _Table(dict[str, dict[str, Any]]):
    def __missing__(self, name: str) -> dict[str, Any]:
        pytest.fail(
            f"no small arguments for '{name}': add its line to SMALL in tests/networks/small_arguments.py"
        )


# Arguments that make each network small, and let it halve its input twice at most. One line a network.
SMALL = _Table({
    "agunet": {"filters": (4, 8, 8), "strides": (2, 2)},
    "attention_unet": {"channels": (4, 8, 8), "strides": (2, 2)},
    "daunet": {"filters": (4, 8, 8), "strides": (2, 2)},
    "dynunet": {
        "kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2), "filters": (4, 8, 8)
    },
    "lightnet": {"filters": (8, 12), "depths": (1, 1), "heads": 2, "halvings": 1},
    "mednext": {
        "init_filters": 4, "blocks_down": (1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1), "kernel_size": 3
    },
    "mobile_mamba": {
        "filters": (10, 12), "depths": (1, 1), "global_ratios": (0.5, 0.5), "local_ratios": (0.3, 0.3),
        "kernels": ((3, 5), (3,)), "halvings": 1
    },
    "scan_unet": {"filters": (4, 8, 8), "strides": (2, 2), "states": 4},
    "segmamba": {"filters": (4, 8, 8), "strides": (2, 2), "states": 4, "depth": 1},
    "segresnet": {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
    "subvoxel_unet": {"filters": (4, 8), "strides": (2,)},
    "swin_unetr": {"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 2},
    "umamba": {"filters": (4, 8, 8), "strides": (2, 2), "states": 4},
    "unet": {"channels": (4, 8, 8), "strides": (2, 2), "num_res_units": 1},
})  # fmt: skip
