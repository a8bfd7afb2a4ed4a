"""Choose the mixed precision that a machine is fast in."""

from __future__ import annotations

import torch

__all__ = ["mixed_precision"]


def mixed_precision() -> str:
    """Lightning's ``bf16-mixed`` where the processor or the GPU computes in bfloat16, else ``32-true``.

    Emulated bfloat16 is slower than float32, so the hardware is asked.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if _cpu_has_bf16() else "32-true"


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
