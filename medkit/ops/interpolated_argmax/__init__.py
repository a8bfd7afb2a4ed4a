"""Which class has the greatest linearly interpolated score, without the interpolated scores of the whole.

What belongs here: the operation on planes of scores, its reference and its kernel. What does not: the grids of images
(``transforms``).
"""

from medkit.ops.interpolated_argmax.op import ScoredPlane, interpolated_argmax
from medkit.ops.interpolated_argmax.places import Places

__all__ = ["Places", "ScoredPlane", "interpolated_argmax"]
