"""The selective scan of state-space models, S6, in one direction or the other.

What belongs here: the operator, its reference, its kernels. What does not: the layers around it (``networks``).
"""

from medkit.ops.selective_scan.op import selective_scan, selective_scan_fn
from medkit.ops.selective_scan.reference import selective_scan_reference

__all__ = ["selective_scan", "selective_scan_fn", "selective_scan_reference"]
