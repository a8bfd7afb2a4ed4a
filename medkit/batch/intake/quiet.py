"""Say that studies are all there: of which nothing came for a while, or whose source has said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.batch.ledger import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Collection

    from medkit.batch.intake.take import Intake

__all__ = ["Settled", "settle"]


@dataclass(frozen=True)
class Settled:
    """What became of studies that were quiet, by their hashes.

    Args:
        begun: those with a new revision, and its number.
        unchanged: those that are what they were.
        empty: those of which nothing could be stored; they wait for their instances.
    """

    begun: dict[str, int]
    unchanged: tuple[str, ...]
    empty: tuple[str, ...]


def settle(
    intake: Intake, seconds: float, studies: Collection[str] | None = None, *, whole: bool = False
) -> Settled:
    """Complete studies of which nothing came for so many seconds; where something comes meanwhile, they wait again.

    Args:
        intake: the door.
        seconds: how long.
        studies: hashes of those that are asked about; all where this is ``None``.
        whole: their source says that they are all there, see :meth:`medkit.batch.ledger.Ledger.complete`.
    """
    begun: dict[str, int] = {}
    unchanged, empty = [], []
    for arrival in intake.ledger.quiet(seconds):
        study = arrival.study
        if studies is not None and study not in studies:
            continue
        instances = intake.spool.instances(study)
        if not instances:
            empty.append(study)
            continue
        try:
            number = intake.ledger.complete(arrival, intake.spool.digest(study), len(instances), whole=whole)
        except IllegalTransition:
            continue
        if number is None:
            unchanged.append(study)
        else:
            begun[study] = number
            size = sum(one.size for one in instances)
            intake.audit.append(
                "study-complete", study=study, revision=number, count=len(instances), bytes=size
            )
    return Settled(begun, tuple(unchanged), tuple(empty))
