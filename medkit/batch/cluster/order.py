"""What goes to a worker of the cluster and what comes back: hashes, paths of the batch, settings, and no patient.

Orders are made of plain values, so that a worker with another medkit can read one and say so.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from medkit.batch.ledger import State
from medkit.batch.making.verdicts import Verdict
from medkit.data.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medkit.batch.making import BundleSettings, Outputs
    from medkit.batch.rules import Rule
    from medkit.dicom.limits import Limits

__all__ = ["BEGUN", "ENDED", "SLOW", "Order", "Outcome", "OutcomeKind", "Terms", "Work"]

BEGUN, SLOW, ENDED = ".begun", ".slow", ".ended"
"""Files in the folder of an order: that a worker began, what it was at when its time was over, and what came of it."""


@dataclass(frozen=True)
class Work:
    """What is the same for all studies."""

    rules: Sequence[Rule]
    outputs: Outputs
    limits: Limits
    bundles: Mapping[str, BundleSettings]
    device: str | None

    def packed(self) -> bytes:
        """As it travels; the same bytes are unpacked once in a worker."""
        return pickle.dumps(self)


@dataclass(frozen=True)
class Terms:
    """What all orders of a service share, in plain values.

    Args:
        spool: folder of the store, as workers see it.
        traits: of a worker that is fit, see :func:`medkit.batch.cluster.fitness.traits`.
        makers: identity of each bundle, see :attr:`medkit.dicom.writing.maker.Maker.identity`.
        stage_seconds: for reading, for predicting and for writing.
        memory_bytes: of the worker's process.
        work: see :meth:`Work.packed`.
    """

    spool: str
    traits: dict[str, str]
    makers: dict[str, str]
    stage_seconds: float
    memory_bytes: int | None
    work: bytes = field(repr=False)


@dataclass(frozen=True)
class Order:
    """One claimed study.

    Args:
        study: its hash.
        digest: of the instances of the revision that was claimed.
        withdrawn: UIDs that its objects may not have.
        notes: what its reports say beside what the store tells.
        folder: for the objects, as workers see it: there as long as the claim may hold. It is used by one attempt.
        terms: of all orders.
    """

    study: str
    digest: str
    withdrawn: tuple[str, ...]
    notes: tuple[str, ...]
    folder: str
    terms: Terms = field(repr=False)


class OutcomeKind(StrEnum):
    """What became of an order."""

    MADE = "made"
    VERDICT = "verdict"
    BEGUN = "begun"  # by an attempt that did not end: its worker is no more
    UNSEEN = "unseen"  # the folder is not there, or no longer
    UNFIT = "unfit"  # the worker is another than it has to be


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    Args:
        kind: see there.
        worker: address of the worker.
        said: one line, of a worker that is unfit.
        made: of each object its path in the folder, its UID, the hash of its content and that of its bytes.
        recipe: see :class:`medkit.batch.making.StudyWritten`.
        makers: of each its name, version and digest.
        refused: see :class:`medkit.batch.making.StudyRead`.
        seconds: that each stage took.
        verdict: state, code, message and delay.
    """

    kind: OutcomeKind
    worker: str
    said: str = ""
    made: tuple[tuple[str, str, str, str], ...] = ()
    recipe: str = ""
    makers: tuple[tuple[str, str, str], ...] = ()
    refused: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    verdict: tuple[str, str, str, float] | None = None

    def leave(self, folder: Path) -> None:
        """Write it into the folder of its order, where it is found should its worker die before it could tell.

        Nothing is written where the folder is gone: the service gave the study back, or is no more.

        Raises:
            OSError: it cannot be written.
        """
        if folder.is_dir():  # or it would be made anew, and nobody would look for it
            write_text(folder / ENDED, json.dumps(asdict(self)))

    @classmethod
    def left_in(cls, folder: Path) -> Outcome | None:
        """What :meth:`leave` wrote; ``None`` where there is nothing whole."""
        try:
            given = json.loads((folder / ENDED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        for name in ("made", "makers"):
            given[name] = tuple(map(tuple, given[name]))
        verdict = given["verdict"] and tuple(given["verdict"])
        return cls(**{**given, "kind": OutcomeKind(given["kind"]), "verdict": verdict})

    def raise_verdict(self) -> None:
        """Raise the verdict, if it is one."""
        if self.verdict is not None:
            state, code, message, delay = self.verdict
            raise Verdict(State(state), code, message, delay)
