"""What may be said of a study in the ledger and the logs: messages without a patient in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medkit.batch.making.context import REPAIRS

if TYPE_CHECKING:
    from medkit.dicom.findings import Finding

__all__ = ["INSPECT", "tell_finding", "without_patient"]

INSPECT = "'medkit dicom inspect' on the stored study says more"
"""Of what :func:`tell_finding` tells."""

_DIGITS = 12  # of a hash, which tell the instances of a study apart
# What is kept under a name of its own until all else is taken away.
_STORED = re.compile(r"\b([0-9a-f]{64})(?:-[0-9a-f]{64})?(?:\.dcm)?\b")
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"|[^\s;]*\^[^\s;]*|[^\s;]*[^\x20-\x7e][^\s;]*")
_UIDS = re.compile(r"\b\d+(?:\.\d+){3,}\b")
_NAME = r"[a-z]+(?:-[a-z]+)*"
_REPAIRS = re.compile(rf"(?P<before>(?:,? or |; )?)ask for the repair (?P<repairs>{_NAME}(?: or {_NAME})*)")
# A corrected instance is another content of one that is stored.
_CORRECTED = "set BurnedInAnnotation to NO where there are none"
_CORRECTED_IN_BATCHES = (
    "where there are none, set BurnedInAnnotation to NO at the source, 'medkit batch purge' the study and have it sent "
    "again"
)
_NUMBERS = re.compile(r"\b[A-Za-z]*\d{6,}\w*")  # dates, times, numbers of patients and examinations
# Refusals of the reader that say nothing but numbers and words of medkit; others quote what stands in a header.
_PLAIN = frozenset(
    {
        *(
            "bad-orientation",
            "bad-pixels",
            "burned-in",
            "count-mismatch",
            "directory",
            "duplicate",
            "empty-file",
            "excess-pixels",
        ),
        *(
            "gap",
            "mixed-frame-of-reference",
            "mixed-orientation",
            "mixed-patient",
            "mixed-study",
            "no-geometry",
        ),
        *("no-pixels", "no-series-uid", "not-dicom", "too-large", "truncated"),
    }
)


def without_patient(message: str) -> str:
    """A message with all taken away that may come out of a header: UIDs, quoted texts, names, long numbers.

    Instances go by the beginning of their hash, as their files in the store do.

    >>> without_patient("series 1.2.840.113619.2: expected a number, got 'Doe' for 19700101")
    'series (UID): expected a number, got (text) for (number)'
    """
    kept = _STORED.split(message)  # every second one is a hash
    for place in range(0, len(kept), 2):
        plain = _TEXTS.sub("(text)", kept[place])
        kept[place] = _NUMBERS.sub("(number)", _UIDS.sub("(UID)", plain))
    kept[1::2] = [f"instance {found[:_DIGITS]}" for found in kept[1::2]]
    return "".join(kept)


def tell_finding(series: int | None, finding: Finding) -> str:
    """A refusal of the reader in one line that may be kept.

    Args:
        series: its number, where it belongs to one.
        finding: the refusal.
    """
    where = "" if series is None else f"series {series}: "
    said = without_patient(finding.message) if finding.code in _PLAIN else f"refused as {finding.code}"
    said = said.replace(_CORRECTED, _CORRECTED_IN_BATCHES)
    return f"{where}{_REPAIRS.sub(_of_batches, said)}"


def _of_batches(advice: re.Match[str]) -> str:
    """An advice with those repairs alone that a batch has, and where they are asked for."""
    repairs = " or ".join(name for name in advice["repairs"].split(" or ") if name in REPAIRS)
    return f"{advice['before']}ask for the repair {repairs} (outputs.repairs, --repair)" if repairs else ""
