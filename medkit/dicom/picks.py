"""What a caller chooses of a source."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medkit.dicom.planes import Plane

__all__ = ["Picks"]

_SERIES, _VOLUME = "series", "volume"


class Picks:
    """Filters by key, which remember whether they found anything.

    Args:
        picks: by key; see :func:`medkit.dicom.read`.

    ``refused`` takes the messages of series that are refused whole, since what is not found may lie in them.
    """

    def __init__(self, picks: Mapping[str, str]) -> None:
        self.picks = {key: str(value).strip() for key, value in picks.items()}
        self.used = dict.fromkeys(self.picks, False)
        self.seen: dict[str, set[str]] = {key: set() for key in self.picks}
        self.keys = {_SERIES, _VOLUME}
        self.refused: list[str] = []

    def takes_series(self, uid: str, number: int | None) -> bool:
        """Whether a series is wanted, by its UID or number."""
        return self._takes(_SERIES, uid, "" if number is None else str(number))

    def takes_volume(self, name: str) -> bool:
        """Whether a volume is wanted, by its name."""
        return self._takes(_VOLUME, name)

    def take_planes(self, planes: Sequence[Plane]) -> list[Plane]:
        """The frames that have every value picked."""
        kept = list(planes)
        for plane in planes:
            self.keys |= plane.strict.keys() | plane.soft.keys() | {"matrix"}
        for key in self.frame_keys:
            values = [_value(plane, key) for plane in kept]
            # Text such as 01 and 1 is told apart where both are there.
            wanted = self.picks[key] if self.picks[key] in values else None
            kept = [
                plane
                for plane, value in zip(kept, values, strict=True)
                if self._takes(key, value) and wanted in (None, value)
            ]
        return kept

    @property
    def frame_keys(self) -> list[str]:
        """The keys that choose among frames."""
        return [key for key in self.picks if key not in (_SERIES, _VOLUME)]

    @property
    def names_volume(self) -> bool:
        """Whether one volume is picked by its name."""
        return _VOLUME in self.picks

    def named_by(self, planes: Sequence[Plane], taken: Sequence[Plane]) -> dict[str, str]:
        """The keys that tell the frames taken from all others of their series, and so belong into a volume's name."""
        values = {key: {_value(plane, key) for plane in planes} for key in self.frame_keys}
        return {key: _value(taken[0], key) for key, found in values.items() if len(found) > 1}

    def check_used(self) -> None:
        """Check that each pick found something.

        Raises:
            UsageError: one did not.
        """
        for key, used in self.used.items():
            if not used:
                there = ", ".join(sorted(self.seen[key] - {""})[:20])
                got = (
                    f"there are {there}"
                    if there
                    else f"nothing here has it; keys are {', '.join(sorted(self.keys))}"
                )
                raise UsageError(
                    f"pick {key}={self.picks[key]}: expected a value that is there, got none; {got}"
                    f"{self._near(key, there)}{self._refused_too()}"
                )

    def _near(self, key: str, there: str) -> str:
        if there or not (near := get_close_matches(key, self.keys, n=1)):
            return ""
        return f"; did you mean {near[0]}?"

    def _refused_too(self) -> str:
        if not self.refused:
            return ""
        return f"; {len(self.refused)} series are refused and may hold it: {self.refused[0]}"

    def _takes(self, key: str, *values: str) -> bool:
        if key not in self.picks:
            return True
        self.seen[key] |= set(values[-1:])
        taken = any(_same(self.picks[key], value) for value in values)
        self.used[key] = self.used[key] or taken
        return taken


def _value(plane: Plane, key: str) -> str:
    if key == "matrix":
        return f"{plane.format.columns}x{plane.format.rows}"
    return plane.strict.get(key, plane.soft.get(key, ""))


def _same(one: str, other: str) -> bool:
    """As text or as numbers."""
    try:
        return one == other or [float(part) for part in one.split("\\")] == [
            float(part) for part in other.split("\\")
        ]
    except ValueError:
        return False
