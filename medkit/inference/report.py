"""Assemble `report.json` and `volumes.csv` of a results folder from the records of its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit.data.tables import csv_text
from medkit.data.writing import UNFINISHED, write_text
from medkit.inference.records import DONE, read_record, to_json
from medkit.inference.result import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["assemble_report", "read_records"]

_MEASURES = {
    "expected_ml": "expected volume (ml)",
    "mean_entropy": "mean entropy",
    "volume_cv": "coefficient of variation of the volume",
    "pairwise_dice": "mean pairwise Dice",
}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of all cases of a results folder, by name."""
    paths = (folder / "cases").rglob("*.json")
    found = (read_record(path) for path in paths if not path.name.startswith(UNFINISHED))
    return sorted((record for record in found if record is not None), key=lambda record: str(record["case"]))


def assemble_report(folder: Path) -> dict[str, Any]:
    """Write ``report.json`` (its form is ``medkit/schemas/report.schema.json``) and ``volumes.csv``.

    ``uncertainty.csv``, a row for each case and structure, is written where some case has been judged. It says whether
    the probabilities behind a row are calibrated: entropies of both kinds are not to be compared.

    Returns:
        The report.
    """
    records = read_records(folder)
    done = [record for record in records if record["status"] == DONE]
    report = {
        "cases_total": len(records),
        "cases_done": len(done),
        "cases_failed": len(records) - len(done),
        "cases": records,
    }
    write_text(folder / "report.json", to_json(report))
    write_text(folder / "volumes.csv", _volumes_csv(done))
    if judged := [record for record in done if "uncertainty" in record]:
        write_text(folder / "uncertainty.csv", _uncertainty_csv(judged))
    else:
        (folder / "uncertainty.csv").unlink(missing_ok=True)
    return report


def _uncertainty_csv(judged: list[dict[str, Any]]) -> str:
    rows = []
    for record in judged:
        calibrated = "yes" if record.get("calibration", {}).get("applied") else "no"
        for name, measures in record["uncertainty"].items():
            volume = record["volumes_ml"].get(name)
            if volume == UNKNOWN:
                measures = {**measures, "expected_ml": UNKNOWN}
            numbers = [volume, *(measures[key] for key in _MEASURES)]
            rows.append([record["case"], name, *map(_cell, numbers), calibrated])
    return csv_text(["case", "structure", "volume (ml)", *_MEASURES.values(), "calibrated"], rows)


def _cell(number: float | str | None) -> str:
    if number is None:
        return ""
    return number if isinstance(number, str) else f"{number:.4f}"


def _volumes(record: dict[str, Any]) -> dict[str, float | str]:
    """The volumes of a case by column, ends of intervals among them."""
    columns = dict(record["volumes_ml"])
    for name, interval in record.get("volume_interval_ml", {}).items():
        columns.setdefault(name, interval["volume"])  # of the sum of all
        columns |= {f"{name} {100 * interval['level']:g} % {end}": interval[end] for end in ("low", "high")}
    return columns


def _volumes_csv(done: list[dict[str, Any]]) -> str:
    tables = [_volumes(record) for record in done]
    names = list(dict.fromkeys(name for volumes in tables for name in volumes))
    measured = {name for volumes in tables for name, volume in volumes.items() if volume != UNKNOWN}
    header = ["case", *(f"{name} (ml)" if name in measured else name for name in names), "notes"]
    rows = (
        [
            record["case"],
            *(_cell(volumes.get(name, "")) for name in names),
            "; ".join(record.get("notes", ())),
        ]
        for record, volumes in zip(done, tables, strict=True)
    )
    return csv_text(header, rows)
