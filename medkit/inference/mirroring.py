"""Mirror an image about the axes of the body, and hand what was found on one side over to the other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib

from medkit.data.side_words import LEFT_WORDS, OPPOSITE_WORDS, opposite_words, words_of
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["AXES", "Mirror", "Mirroring", "lateral_pairs", "parse_axes"]

AXES = ("LR", "AP", "SI")  # by the RAS axis that each turns round
_WRITE_DOWN = 'write the pairs into its metadata, as "lateral_pairs": [["left x", "right x"]], or [] for none'


def parse_axes(flips: str | Iterable[str]) -> tuple[str, ...]:
    """Axes of the body in a fixed order, each once.

    >>> parse_axes("si,LR")
    ('LR', 'SI')

    Args:
        flips: ``LR`` (left and right), ``AP`` (front and back), ``SI`` (head and feet): a list, or a word with
            commas.

    Raises:
        UsageError: an axis of another name.
    """
    words = flips.split(",") if isinstance(flips, str) else list(flips)
    wanted = {str(word).strip().upper() for word in words} - {""}
    if unknown := sorted(wanted - {*AXES}):
        raise UsageError(
            f"--flips {','.join(map(str, words))}: expected axes of the body, {', '.join(AXES)}, with commas "
            f"between, got {', '.join(unknown)}; LR suits most networks"
        )
    return tuple(axis for axis in AXES if axis in wanted)


def lateral_pairs(names: Mapping[int, str], stated: Any, where: str) -> tuple[tuple[int, int], ...]:
    """Channels that change places when left and right do.

    They are found by their names, which have to be equal but for a word of their own: left and right, l and r,
    lt and rt, lh and rh, lhs and rhs. What has a side but no counterpart is refused: a left kidney alone would be
    averaged with the mirror image of nothing. So are names whose side is no word of its own (``kidneyL``), or their
    only one (``LH``), where the other side has such a name too. No name tells that two sides differ in more than
    their side, as the ventricles of the heart do, nor is any language but English understood: metadata state such
    pairs.

    Args:
        names: channel to name.
        stated: ``lateral_pairs`` of the bundle's metadata, pairs of names; ``None`` to find them here.
        where: the bundle, for messages.

    Raises:
        UsageError: names that are missing, leave the pairs open or are not those that are stated.
    """
    if stated is not None:
        return _stated_pairs(names, stated, where)
    if not names:
        raise UsageError(
            f"{where}: expected names of its channels ('channel_def' of the output in its metadata), to know "
            f"which lie left and right, got none; name them, or {_WRITE_DOWN}"
        )
    words = {channel: words_of(name) for channel, name in names.items()}
    pairs = set()
    for channel, name in names.items():
        if (other := _counterpart(words[channel], name, where)) is None:
            continue
        found = [number for number in names if words[number] == other]
        twins = [number for number in names if words[number] == words[channel]]
        if len(found) != 1 or len(twins) != 1:
            raise UsageError(
                f"{where}: expected one '{name}' and one label that is called '{' '.join(other)}', got "
                f"{len(twins)} and {len(found)} among {', '.join(names.values())}; {_WRITE_DOWN}"
            )
        pairs.add((min(channel, found[0]), max(channel, found[0])))
    _check_no_hidden_side(names, words, {channel for pair in pairs for channel in pair}, where)
    return tuple(sorted(pairs))


def _check_no_hidden_side(
    names: Mapping[int, str], words: Mapping[int, tuple[str, ...]], paired: Collection[int], where: str
) -> None:
    """Refuse two names that are the same once the sides that their words may begin or end with are taken off."""
    stems = {channel: _stems(words[channel]) for channel in names}
    for one, other in itertools.combinations(names, 2):
        opposite = {(stem, not left) for stem, left in stems[other]}
        if not {one, other} <= {*paired} and not stems[one].isdisjoint(opposite):
            raise UsageError(
                f"{where}: expected labels with a word for their side, such as 'left kidney' and 'right kidney', or "
                f"none, got '{names[one]}' and '{names[other]}', which may lie left and right; {_WRITE_DOWN}"
            )


def _stems(words: tuple[str, ...]) -> set[tuple[str, bool]]:
    """What is left of a name without its side, for each that it may have, and whether that is the left."""
    stems = set()
    for (place, word), side in itertools.product(enumerate(words), OPPOSITE_WORDS):
        before, after = "".join(words[:place]), "".join(words[place + 1 :])
        for rest in {word.removeprefix(side), word.removesuffix(side)} - {word}:
            stems.add((before + rest + after, side in LEFT_WORDS))
    return stems


def _counterpart(words: tuple[str, ...], name: str, where: str) -> tuple[str, ...] | None:
    """The words of what lies on the other side; ``None`` for what has no side."""
    sides = [word for word in words if word in OPPOSITE_WORDS and len(words) > 1]
    hidden = any(side in word and side != word for word in words for side in ("left", "right"))
    if len(sides) > 1 or hidden or words in (("left",), ("right",)):
        raise UsageError(
            f"{where}: expected a label with one word for its side, such as 'left kidney', got '{name}'; "
            f"{_WRITE_DOWN}"
        )
    return opposite_words(words)


def _stated_pairs(names: Mapping[int, str], stated: Any, where: str) -> tuple[tuple[int, int], ...]:
    channels = {name: channel for channel, name in names.items()}
    lists = isinstance(stated, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in stated)
    flat = [str(name) for pair in stated for name in pair] if lists else []
    if not lists or len(flat) != len({*flat}) or not channels.keys() >= {*flat}:
        raise UsageError(
            f"{where}: expected 'lateral_pairs' of the metadata to be a list of pairs of names out of "
            f"{', '.join(channels) or 'channel_def'}, each at most once, got {stated!r}; correct the metadata"
        )
    return tuple((channels[flat[place]], channels[flat[place + 1]]) for place in range(0, len(flat), 2))


@dataclass(frozen=True)
class Mirror:
    """One mirrored copy of an image, and the way back.

    Args:
        dims: axes of a tensor ``(B, C, *spatial)`` that are turned round; none for the image as it is.
        pairs: channels that change places.
    """

    dims: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    def apply(self, image: Tensor) -> Tensor:
        """``(B, C, *spatial)`` mirrored; the affine of a MetaTensor stays, as if the body had been mirrored."""
        return image.flip(self.dims) if self.dims else image

    def undo(self, output: Tensor, start: int, stop: int) -> Tensor:
        """Planes ``start`` to ``stop`` (first spatial axis) of what the network made of the copy, brought back.

        Args:
            output: ``(B, C, *spatial)`` of the mirrored image.
            start: first plane, of the image as it is.
            stop: plane after the last.
        """
        length = output.shape[2]
        begin = length - stop if 2 in self.dims else start
        part = output.narrow(2, begin, stop - start)
        part = part.flip(self.dims) if self.dims else part
        return part[:, self._order(part.shape[1])] if self.pairs else part

    def _order(self, channels: int) -> list[int]:
        order = list(range(channels))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return order


@dataclass(frozen=True)
class Mirroring:
    """Every combination of mirrors about some axes of the body.

    Only left and right change names: the mirror image of a left kidney is a right one, but the upper lobe of a
    lung, upside down, is the upper lobe still.

    Args:
        axes: see :func:`parse_axes`; none for the image alone.
        pairs: see :func:`lateral_pairs`.
    """

    axes: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return int(2 ** len(self.axes))

    def mirrors(self, affine: NDArray[np.float64] | None) -> Iterator[Mirror]:
        """The copies of an image, itself first.

        Args:
            affine: 4x4 to RAS millimetres, of the image as the network gets it. An Orientationd before it has
                settled which axis of the tensor is which of the body; without one that may differ between
                images, and the affine still tells. Not needed without axes.
        """
        along = [] if affine is None else nib.orientations.io_orientation(affine)[:, 0].tolist()
        dims = {axis: along.index(AXES.index(axis)) + 2 for axis in self.axes}
        for number in range(len(self.axes) + 1):
            for turned in itertools.combinations(self.axes, number):
                yield Mirror(tuple(dims[axis] for axis in turned), self.pairs if "LR" in turned else ())
