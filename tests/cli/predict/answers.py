"""What a call of ``medkit predict`` wrote and said."""

from __future__ import annotations

import json
from pathlib import Path


def records(output: Path) -> dict[str, dict]:
    return {record["case"]: record for record in json.loads((output / "report.json").read_text())["cases"]}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(call, *arguments) -> str:
    """The one line with which a call is refused before anything is written."""
    code, out, errors = call("predict", *arguments)
    assert (code, out, len(errors)) == (2, "", 1)
    assert errors[0].startswith("medkit: ")
    return errors[0]
