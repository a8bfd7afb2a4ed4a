"""Whether all of a study is in the store, each instance once and as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.making.verdicts import verdict
from medkit.batch.marks import BROKEN, NAMES_THE_BROKEN, NOT_RELEASED
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from medkit.batch.marks import Mark
    from medkit.batch.spool import Spool

__all__ = ["check_all_taken", "check_whole", "what_is_missed"]

_SHOWN = 3
_DIGITS = 12  # of a hash


def check_all_taken(spool: Spool, study: str) -> None:
    """Check that nothing of a study is marked as not taken.

    Raises:
        Verdict: something is.
    """
    if marks := spool.marks(study):
        missed = what_is_missed(marks, "was", "were")
        broken = f"{NAMES_THE_BROKEN}; " if BROKEN in {mark.code for mark in marks} else ""
        again = "have the same sender send" if any(mark.caller for mark in marks) else "send"
        raise verdict(
            "instances-missing",
            f"expected all that was sent, but {missed}; {broken}{again} the study again, whole, or let medkit batch "
            "lift say that it is whole all the same",
        )


def what_is_missed(marks: Collection[Mark], one: str, many: str, *, names_senders: bool = True) -> str:
    """What is missed, for a person.

    Args:
        marks: of what is.
        one: what one that was not taken was, and the verb.
        many: the same of several.
        names_senders: by their AE titles, which may name a hospital.
    """
    missed = {mark.name: mark.code for mark in marks if not mark.caller}.values()  # several may say the same
    parts = []
    if missed:
        parts.append(f"{counted(len(missed), one, many)} not taken ({', '.join(sorted(set(missed)))})")
    if callers := sorted(mark.caller for mark in marks if mark.caller):
        titles = f" {' and '.join(callers)}" if names_senders else ""
        who = f"{'its sender' if len(callers) == 1 else 'its senders'}{titles}"
        why = f"({NOT_RELEASED}: broken off, or this service was stopped)"
        parts.append(f"{who} did not say that this is all {why}")
    return " and ".join(parts)


def check_whole(spool: Spool, study: str) -> None:
    """Check that all of a study is there, each instance once and as it came.

    Raises:
        Verdict: it is not.
    """
    if conflicts := spool.conflicts(study):
        what = f"got {len(conflicts)} that came with several ({_some(conflicts)})"
        if marks := spool.marks(study):  # which goes as well when all is sent anew
            what += f", and all that was sent, but {what_is_missed(marks, 'was', 'were')}"
        raise verdict(
            "instances-conflict",
            f"expected one content of each instance, {what}; remove them by medkit batch purge FOLDER STUDY, and then "
            "send the study again, whole; what was delivered of it before stays until then",
        )
    check_all_taken(spool, study)
    if damaged := [one.instance for one in spool.damaged(study)]:
        what = f"got {len(damaged)} changed on the disk ({_some(damaged)})"
        raise verdict(
            "instances-damaged", f"expected instances as they came, {what}; send the study again, whole"
        )


def _some(instances: Sequence[str]) -> str:
    shown = ", ".join(instance[:_DIGITS] for instance in instances[:_SHOWN])
    return shown if len(instances) <= _SHOWN else f"{shown} ..."
