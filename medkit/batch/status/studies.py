"""Studies as a person names them, and the person who does."""

from __future__ import annotations

import getpass
import re
import socket
from typing import TYPE_CHECKING

from medkit.batch.audit import as_name
from medkit.batch.identity import hash_uid, is_hash
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from medkit.batch.ledger import LedgerView

__all__ = ["find_study", "operator"]

_BEGINNING = re.compile(r"[0-9a-f]{4,64}")
_UID = re.compile(r"\d+(\.\d+)+")


def find_study(view: LedgerView, text: str, others: Collection[str] = ()) -> str:
    """The hash of a study, from it, from four or more of its first digits, or from a UID.

    A UID is the study's own as it came, or the SOP Instance UID of a result: the way back from a result about nobody,
    whose other UIDs are new as well.

    Args:
        view: of the ledger.
        text: what a person says.
        others: hashes of studies that may be meant though the ledger does not know them.

    Raises:
        UsageError: no study, or several, are meant.
    """
    said = text.strip().lower().removesuffix(".dcm")
    of_result: list[str] = []
    if _UID.fullmatch(said):
        of_result, said = view.made_into(said), hash_uid(said)
    if not _BEGINNING.fullmatch(said):
        raise UsageError(
            f"expected the hash of a study, four or more of its first digits, or its Study Instance UID as it came, or "
            f"the name of a result's file, which is its UID, got '{text}'"
        )
    found = sorted({*of_result, *view.find(said, limit=2), *(one for one in others if one.startswith(said))})
    if len(found) > 1:
        raise UsageError(
            f"'{text}': expected digits with which one study begins, got several; give more of them"
        )
    if not found:
        raise UsageError(
            f"'{text}': expected a study of this batch, or a result's SOP Instance UID, got neither; look at medkit "
            "batch status"
        )
    assert is_hash(found[0])
    return found[0]


def operator() -> str:
    """Who calls: ``user@machine``, as the ledger and the audit log take it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "operator"
    return as_name(f"{user}@{socket.gethostname()}")
