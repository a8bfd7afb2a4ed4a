"""What a caller chooses of a source."""

from __future__ import annotations

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
    """

    def __init__(self, picks: Mapping[str, str]) -> None:
        self.picks = {key: str(value).strip() for key, value in picks.items()}
        self.used = dict.fromkeys(self.picks, False)
        self.seen: dict[str, set[str]] = {key: set() for key in self.picks}
        self.keys = {_SERIES, _VOLUME}

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
        for key in self.picks:
            if key not in (_SERIES, _VOLUME):
                values = [_value(plane, key) for plane in kept]
                # Text such as 01 and 1 is told apart where both are there.
                wanted = self.picks[key] if self.picks[key] in values else None
                kept = [
                    plane
                    for plane, value in zip(kept, values, strict=True)
                    if self._takes(key, value) and wanted in (None, value)
                ]
        return kept

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
                    f"--pick {key}={self.picks[key]}: expected a value that is there, got none; {got}"
                )

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
