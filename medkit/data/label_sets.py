"""Label maps in other people's terms: a value of theirs is one of several classes of a network's, which one left open.

A tool that outlines lobes and gyri says more of the cortex than a network needs, and less where one of its regions lies
on both sides. A set of classes says just what is known (Fidon et al. 2021, arXiv:2107.03846, section 2). Sets have
numbers: first the classes alone, by their own, so that a label map of classes is one of sets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LabelSets", "read_label_table"]

_UNKNOWN = -1
_ROUNDING = 1e-3  # of labels that a file stores with a scale


def read_label_table(path: str | Path) -> list[dict[str, Any]]:
    """Rows for :class:`LabelSets` from a JSON file: a list such as ``[{"values": [1, 2], "classes": ["pallidum"]}]``.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: expected a JSON file of label sets, got one that cannot be read ({error})"
        ) from error
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise UsageError(
            f'{path}: expected a list of objects such as {{"values": [1, 2], "classes": ["pallidum"]}}, got '
            f"{table!r:.80}"
        )
    return table


class LabelSets:
    """What each value of a kind of label maps may be.

    Args:
        classes: value to name of the network's classes, from 0, the background, without a gap.
        table: rows with ``values`` of the label maps and names of the ``classes`` that each of these may be.
        pairs: left and right class of each structure that has sides. The mirror image of a set then is a set too.

    Attributes:
        sets: classes of each set, ascending, by its number.
        pairs: numbers of the sets that change places in a mirror image.
        values: what the label maps may hold, ascending.
        compared: class to name, background left out, of those that a value stands for alone.

    Raises:
        UsageError: classes with a gap, a row without values or classes, a name that the network lacks, a value twice.
    """

    def __init__(
        self,
        classes: Mapping[Any, str],
        table: Sequence[Mapping[str, Any]],
        pairs: Sequence[Sequence[int]] = (),
    ) -> None:
        names = {int(value): name for value, name in classes.items()}
        self._classes = len(names)
        if sorted(names) != list(range(len(names))):
            raise UsageError(
                f"classes: expected values from 0 on without a gap, got {sorted(names)}; correct them"
            )
        members = {value: found for row in table for value, found in _row(row, names)}
        twice = [
            value for value, count in Counter(v for row in table for v in row["values"]).items() if count > 1
        ]
        if twice or not members:
            raise UsageError(f"table: expected values, each in one row, got {twice or 'none'}; correct it")
        opposite = {a: b for left, right in pairs for a, b in ((left, right), (right, left))}
        every = [(value,) for value in range(len(names))] + list(members.values())
        both = [one for found in every for one in (found, _mirrored(found, opposite))]
        self.sets = tuple(sorted(dict.fromkeys(both), key=lambda found: (len(found) > 1, found)))
        number = {found: place for place, found in enumerate(self.sets)}
        self.pairs = [
            (place, other)
            for found, place in number.items()
            if place < (other := number[_mirrored(found, opposite)])
        ]
        self.values = tuple(sorted(members))
        self.compared = {
            value: name for value, name in names.items() if value and (value,) in members.values()
        }
        self.table = np.full(self.values[-1] + 1, _UNKNOWN, np.int16)
        for value, found in members.items():
            self.table[value] = number[found]

    def numbers(self, labels: NDArray[Any], name: str = "label map") -> NDArray[np.int16]:
        """Number of the set of each voxel.

        Args:
            labels: values of the label maps, whole numbers of any type and shape.
            name: of the map, for messages.

        Raises:
            UsageError: there are values that the table lacks.
        """
        if strange := self.strange(labels):
            raise self.refusal(name, strange)
        numbers: NDArray[np.int16] = self.table[np.rint(labels).astype(np.int64)]
        return numbers

    def strange(self, labels: NDArray[Any]) -> list[float]:
        """Values that the table lacks, ascending."""
        found = np.unique(labels)
        whole = np.rint(found)
        known = np.isin(whole, self.values) & (np.abs(found - whole) < _ROUNDING)
        return [float(value) for value in found[~known]]

    def refusal(self, name: str, strange: Sequence[float]) -> UsageError:
        """What is said of a map, or of several, with values that the table lacks."""
        shown = ", ".join(f"{value:g}" for value in strange[:8])
        return UsageError(
            f"{name}: expected values of the table ({len(self.values)} of them, {self.values[0]} to "
            f"{self.values[-1]}), got {shown}; add them to the table of label sets"
        )

    def foreground(self, numbers: Any) -> Any:
        """Where a map of sets, an array or a tensor, says that there is more than background."""
        outside = [place for place, found in enumerate(self.sets) if 0 in found]
        return reduce(and_, (numbers != place for place in outside))

    def comparable(
        self, predicted: NDArray[Any], numbers: NDArray[Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A prediction and a reference as far as the reference says which class it is.

        What the reference leaves open and the prediction answers with one of the classes that it allows is background in
        both; any other class there stays in the prediction, as a voxel too many. Score the classes of :attr:`compared`.

        Args:
            predicted: classes, of any shape.
            numbers: sets of the reference, of the same shape.
        """
        allowed = np.zeros((len(self.sets), self._classes), bool)
        for place, found in enumerate(self.sets):
            allowed[place, list(found)] = len(found) > 1
        predicted = predicted.astype(np.uint8)
        open_there = allowed[numbers, predicted]
        known = np.where(numbers < self._classes, numbers, 0).astype(np.uint8)
        return np.where(open_there, 0, predicted).astype(np.uint8), known


def _row(row: Mapping[str, Any], names: Mapping[int, str]) -> list[tuple[int, tuple[int, ...]]]:
    by_name = {name: value for value, name in names.items()}
    values, classes = row.get("values") or [], row.get("classes") or []
    if strange := [name for name in classes if name not in by_name]:
        raise UsageError(
            f"table: expected names of classes, {', '.join(by_name)}, got {', '.join(map(str, strange))}; correct them"
        )
    if not values or not classes or not all(isinstance(v, int) and v >= 0 for v in values):
        raise UsageError(
            f"table: expected rows of values, whole numbers from 0, and of classes, got {dict(row)}; complete it"
        )
    return [(value, tuple(sorted({by_name[name] for name in classes}))) for value in values]


def _mirrored(found: tuple[int, ...], opposite: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted(opposite.get(value, value) for value in found))
