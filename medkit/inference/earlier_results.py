"""What a run would take away of earlier results: refused before anything runs, for they may have taken a night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError
from medkit.inference.records import (
    DONE,
    has_all,
    outputs_there,
    read_record,
    record_path,
    settings_that_differ,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_keeps_results"]

_SHOWN_DIGITS = 12  # of a digest


def check_keeps_results(
    folder: Path,
    names: Iterable[str],
    provenance: dict[str, Any],
    wanted: Iterable[str],
    remedy: str,
    *,
    anew: bool = False,
) -> None:
    """Check that nothing is replaced by results of other settings, and no output removed that is not made again.

    Results of an image that has changed since are not spared: they are of an image that is no more. Neither are pictures
    of the same labels, which are soon drawn again.

    Args:
        folder: results folder.
        names: of the cases that would run.
        provenance: of the bundle that would run.
        wanted: kinds of output that it would make, such as ``labels``.
        remedy: what the message tells to do.
        anew: whether finished cases would be written again as well.

    Raises:
        UsageError: there are such results.
    """
    kinds, otherwise, removed = set(wanted), dict[str, str](), dict[str, str]()
    for name in names:
        record = read_record(record_path(folder, name))
        if record is None or not (there := outputs_there(folder, name)):
            continue
        gone = [kind for kind in there if kind not in kinds and kind != "picture"]
        runs = anew or record["status"] != DONE or not has_all(record, folder, kinds)
        if differ := settings_that_differ(record, provenance):
            otherwise[name] = ", ".join(_told(key, record, provenance) for key in differ)
        elif gone and runs:
            removed[name] = " and ".join(gone)
    if otherwise:
        raise UsageError(
            f"{folder}: expected no results of other settings, got those of {_counted(otherwise)}; {remedy} to replace "
            "them"
        )
    if removed:
        raise UsageError(
            f"{folder}: expected a call that makes again what it removes, got one without what is there of "
            f"{_counted(removed)}; ask for that as well, {remedy} to remove it"
        )


def _counted(found: dict[str, str]) -> str:
    first, why = next(iter(found.items()))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"'{first}'{more} ({why})"


def _told(key: str, record: dict[str, Any], provenance: dict[str, Any]) -> str:
    return f"{key} {_shown(record.get(key))}, now {_shown(provenance.get(key))}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = ",".join(value["axes"]) if "axes" in value else " ".join(f"{k}={v}" for k, v in value.items())
    return str(value)[:_SHOWN_DIGITS] if _is_digest(value) else str(value or "none")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
