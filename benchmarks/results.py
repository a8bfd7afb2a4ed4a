"""Results as JSON lines: a long run that was stopped goes on where it was, and does again what was done otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Values = dict[str, Any]


class Results:
    """A file with a line for each thing done: ``{"key": ..., "values": ...}``.

    Args:
        path: made when the first result is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Values] = {}
        text = path.read_text() if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line of a run that was killed may be half a line
        if whole != text:
            path.write_text(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            self._known[_canonical(entry["key"])] = entry["values"]

    def get(self, key: Values) -> Values | None:
        """What was found under just these settings, if it was."""
        return self._known.get(_canonical(key))

    def get_or_make(self, key: Values, make: Callable[[], Values]) -> Values:
        """What was found under these settings, now if not before.

        Args:
            key: all that the result depends on.
            make: finds it; what JSON can hold.
        """
        known = self.get(key)
        if known is not None:
            return known
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "values": make()}, allow_nan=False)
        with self.path.open("a") as file:
            file.write(line + "\n")
        values: Values = json.loads(line)["values"]
        self._known[_canonical(key)] = values
        return values


def _canonical(key: Values) -> str:
    return json.dumps(key, sort_keys=True)
