"""The tables of ``dicom_readers.py`` from its verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Values = Mapping[str, Any]

SIGNS = {"right": "right", "refused": "refused", "wrong": "**wrong**"}


def summary_table(verdicts: Mapping[str, Sequence[Values]]) -> str:
    """A row for each reader.

    Args:
        verdicts: by reader, ``{"outcome", "readable"}`` of every kind.
    """
    lines = [
        "| reader | right | refused, as one may | right where one may refuse | right, or refused as one may "
        "| refused, though readable | silently wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    for reader, rows in verdicts.items():
        counts = Counter((row["outcome"], row["readable"]) for row in rows)
        right = counts["right", True] + counts["right", False]
        wrong = counts["wrong", True] + counts["wrong", False]
        allowed = counts["refused", False]
        cells = [right, allowed, counts["right", False], right + allowed, counts["refused", True], wrong]
        lines.append(f"| {reader} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def kind_table(kinds: Sequence[Values], verdicts: Mapping[str, Mapping[str, Values]]) -> str:
    """A row for each kind.

    Args:
        kinds: ``{"name", "about", "readable"}``.
        verdicts: by reader and kind's name.
    """
    lines = [
        "| kind | what it is | " + " | ".join(verdicts) + " |",
        "|---|---|" + "---|" * len(verdicts),
    ]
    for kind in kinds:
        cells = [SIGNS[found[kind["name"]]["outcome"]] for found in verdicts.values()]
        star = "" if kind["readable"] else " °"
        about = str(kind["about"]).replace("|", "\\|")
        lines.append(f"| {kind['name']}{star} | {about} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reason_list(verdicts: Mapping[str, Mapping[str, Values]]) -> str:
    """What was wrong, a line each."""
    lines = [
        f"- {reader}, {name}: {found['reason']}"
        for reader, rows in verdicts.items()
        for name, found in rows.items()
        if found["outcome"] == "wrong"
    ]
    return "\n".join(lines) if lines else "None."


def time_table(seconds: Mapping[str, float | None]) -> str:
    """A row for each reader."""
    lines = ["| reader | seconds |", "|---|---|"]
    lines += [f"| {name} | {'-' if value is None else f'{value:.2f}'} |" for name, value in seconds.items()]
    return "\n".join(lines)
