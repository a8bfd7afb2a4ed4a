"""Words that tell, in the names of labels, on which side of the body something lies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LEFT_WORDS",
    "OPPOSITE_WORDS",
    "opposite_words",
    "structures",
    "tells_sides",
    "without_side",
    "words_of",
]

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
    return tuple(word.lower() for word in _words(name))


def opposite_words(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words of what lies on the other side; ``None`` for what has no side, or more than one word for it.

    >>> opposite_words(("left", "kidney"))
    ('right', 'kidney')
    """
    places = _side_places(words)
    if len(places) != 1:
        return None
    (place,) = places
    return (*words[:place], OPPOSITE_WORDS[words[place]], *words[place + 1 :])


def without_side(name: str) -> str:
    """A name without its word for a side, its other words as they are.

    >>> without_side("left ventral DC"), without_side("Lt_Kidney (upper)"), without_side("liver")
    ('ventral DC', 'Kidney upper', 'liver')
    """
    places = _side_places(words_of(name))
    if not places:
        return name
    return " ".join(word for place, word in enumerate(_words(name)) if place not in places)


def structures(names: Mapping[int, str]) -> list[tuple[int, ...]]:
    """Labels by structure, in the order of their lowest label.

    Left and right are one structure, ``(left, right)``, where their names differ by the word for the side alone and no
    other label has either name. Every other label is one of its own.

    >>> structures({1: "left kidney", 2: "liver", 3: "right kidney"})
    [(1, 3), (2,)]

    Args:
        names: label to name, background left out.
    """
    labels: dict[tuple[str, ...], list[int]] = {}
    for label, name in names.items():
        labels.setdefault(words_of(name), []).append(label)
    found: list[tuple[int, ...]] = []
    for words, own in labels.items():
        other = labels.get(opposite_words(words) or (), [])
        if len(own) != 1 or len(other) != 1:
            found += [(label,) for label in own]
        elif not {*words}.isdisjoint(LEFT_WORDS):
            found.append((*own, *other))
    return sorted(found, key=min)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name)


def _side_places(words: tuple[str, ...]) -> list[int]:
    """Where words for a side stand; nowhere in a name of one word."""
    return [place for place, word in enumerate(words) if word in OPPOSITE_WORDS and len(words) > 1]


def _on_a_side(words: tuple[str, ...]) -> bool:
    written_out = any(word.startswith(("left", "right")) for word in words)
    return written_out or bool(_side_places(words))
