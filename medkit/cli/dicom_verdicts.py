"""Verdicts on DICOM series for people: a table, and below it what there is to say, each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from medkit.cli.consoles import table_console
from medkit.dicom.result import OTHER_KINDS
from medkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["exit_code", "print_verdicts"]

_NAMED = 3  # volumes that a line names


def exit_code(record: Mapping[str, Any]) -> ExitCode:
    """That of a reading, see :func:`medkit.dicom.verdicts.verdicts`."""
    if not any(series["volumes"] for series in record["series"]):
        return ExitCode.NONE_SUCCEEDED
    missed = [found for found in record["refusals"] if found["code"] not in OTHER_KINDS]
    refused = any(series["refusals"] for series in record["series"])
    return ExitCode.SOME_FAILED if missed or refused else ExitCode.DONE


def print_verdicts(record: Mapping[str, Any], *, verbose: bool) -> None:
    """Print the table to standard output, and findings, a block for each series, to standard error.

    Args:
        record: see :func:`medkit.dicom.verdicts.verdicts`.
        verbose: name each file of another kind, not the first alone.
    """
    table = Table("series", "modality", "files", "verdict", "volume", "shape", "type")
    for series in record["series"]:
        _add_rows(table, series)
    table_console().print(table)
    blocks = [_series_lines(series) for series in record["series"]]
    blocks.append(_file_lines(record["refusals"], verbose))
    for lines in blocks:
        if lines:
            click.echo("\n" + "\n".join(lines), err=True)


def _add_rows(table: Table, series: Mapping[str, Any]) -> None:
    number = "?" if series["number"] is None else str(series["number"])
    head = [number, escape(series["modality"]), str(series["files"])]
    if not series["volumes"]:
        codes = sorted({found["code"] for found in series["refusals"]})
        table.add_row(*head, ", ".join(codes) or series["verdict"], "", "", "")
    for volume in series["volumes"]:
        codes = sorted({found["code"] for found in (*volume["repairs"], *volume["notes"])})
        verdict = "read" + (f" ({', '.join(codes)})" if codes else "")
        table.add_row(
            *head, verdict, escape(volume["name"]), " x ".join(map(str, volume["shape"])), volume["type"]
        )
        head = ["", "", ""]


def _series_lines(series: Mapping[str, Any]) -> list[str]:
    name = "series" if series["number"] is None else f"series {series['number']}"
    volumes: dict[str, list[str]] = {}
    for volume in series["volumes"]:
        for finding in (*volume["repairs"], *volume["notes"]):
            volumes.setdefault(_line(finding), []).append(volume["name"])
    count = len(series["volumes"])
    lines = [f"{_named(names, name, count)}: {line}" for line, names in volumes.items()]
    lines += [f"{name}: {_line(note)}" for note in series["notes"]]
    return lines + [f"refused {name}: {_line(refusal)}" for refusal in series["refusals"]]


def _named(names: list[str], series: str, count: int) -> str:
    if len(names) == count > 1:
        return f"{series}, all {count} volumes"
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _file_lines(refusals: list[dict[str, str]], verbose: bool) -> list[str]:
    others = [found for found in refusals if found["code"] in OTHER_KINDS]
    told = refusals if verbose or len(others) < 2 else [found for found in refusals if found not in others]
    lines = [f"left out {_line(found)}" for found in told]
    if len(told) < len(refusals):
        first = others[0]["message"].partition(": expected")[0]
        lines.append(
            f"left out {len(others)} files that are no DICOM images, the first {first}; --verbose names all"
        )
    return lines


def _line(finding: Mapping[str, str]) -> str:
    return f"{finding['code']}: {finding['message']}"
