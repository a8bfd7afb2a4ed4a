"""Words that tell, in the names of labels, on which side of the body something lies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LEFT_WORDS", "OPPOSITE_WORDS", "tells_sides", "words_of"]

LEFT_WORDS = ("left", "l", "lh", "lt", "lhs")
_RIGHT_WORDS = ("right", "r", "rh", "rt", "rhs")
OPPOSITE_WORDS = dict(zip(LEFT_WORDS + _RIGHT_WORDS, _RIGHT_WORDS + LEFT_WORDS, strict=True))


def tells_sides(names: Iterable[str], stated: Any = None) -> bool:
    """Whether some labels lie left or right, by a word of their names.

    Args:
        names: of the labels.
        stated: ``lateral_pairs`` of the bundle's metadata, which a person wrote down; ``None`` to go by the names.

    >>> tells_sides(["background", "left kidney"]), tells_sides(["background", "liver"])
    (True, False)
    """
    if stated is not None:
        return bool(stated)
    return any(_on_a_side(words_of(name)) for name in names)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters.

    >>> words_of("Lt_Kidney (upper)")
    ('lt', 'kidney', 'upper')
    """
    return tuple(re.findall(r"[^\W_]+", name.lower()))


def _on_a_side(words: tuple[str, ...]) -> bool:
    written_out = any(word.startswith(("left", "right")) for word in words)
    return written_out or (len(words) > 1 and any(word in OPPOSITE_WORDS for word in words))
