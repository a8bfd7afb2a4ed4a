"""What may become of a study, and what may not.

A **revision** is a study with the instances that it held at one time. It goes through these states::

    (receiving)                          instances arrive; the study as a whole, not a revision
        | no more for a while
        v
      ready <----------+----------------------------+
        | claimed      | lease lost, given back     | failed, again after a while
        v              |                            |
     running ----------+------------------------> failed
        |   \\
        |    +--> refused      a verdict about the study: never tried again by itself
        |    +--> skipped      no rule wants it
        |    +--> quarantined  tried so many times; the others go on
        v
       made <----------+       results on disk, hashed
        | claimed      | lease lost, given back, failed
        v              |
    delivering --------+--> quarantined
        |
        v
    delivered                  every object read back from its destination and compared

Every state but ``superseded`` goes to ``superseded`` as soon as the study is complete with other instances: slices that
came late, or a rejection note. A study has one revision that is not superseded, its latest. ``refused``, ``skipped`` and
``quarantined`` go back to ``ready`` (or to ``made``, where results are on disk) when a person says so. A person may also
put into quarantine what waits: ``ready``, ``failed`` or ``made``.
"""

from __future__ import annotations

from enum import StrEnum

from medkit.errors import MedkitError

__all__ = [
    "DECIDED",
    "ENDS",
    "FIRST",
    "LEASED",
    "PARTLY_REFUSED",
    "RETRIED",
    "SET_ASIDE",
    "SOURCE_PURGED",
    "TRANSITIONS",
    "IllegalTransition",
    "LeaseLost",
    "LedgerError",
    "Stage",
    "State",
]


class State(StrEnum):
    """Where a study is; see the module's text."""

    RECEIVING = "receiving"
    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"
    MADE = "made"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    REFUSED = "refused"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


class Stage(StrEnum):
    """What a worker may claim a study for."""

    MAKE = "make"
    DELIVER = "deliver"

    @property
    def sources(self) -> tuple[State, ...]:
        """States in which a study waits for it."""
        return (State.READY, State.FAILED) if self is Stage.MAKE else (State.MADE,)

    @property
    def leased(self) -> State:
        """The state meanwhile."""
        return State.RUNNING if self is Stage.MAKE else State.DELIVERING

    @property
    def back(self) -> State:
        """The state of one that was given back or whose lease was lost."""
        return State.READY if self is Stage.MAKE else State.MADE

    @property
    def again(self) -> State:
        """The state of one that failed and will be tried again."""
        return State.FAILED if self is Stage.MAKE else State.MADE


_S = State
FIRST = frozenset({_S.READY, _S.QUARANTINED})
LEASED = frozenset({_S.RUNNING, _S.DELIVERING})
PARTLY_REFUSED = "partly-refused"
"""Code of a study that is made, or delivered, though not all was made of it that rules want."""
SOURCE_PURGED = "source-purged"
"""Code of a study that may be a part, for it came after its earlier instances had been removed."""
RETRIED = "retried"
"""Code of a study that a person sent back to be made, or delivered, once more."""
SET_ASIDE = "set-aside"
"""Code of a quarantined study of which a person said that nobody has to look at it any more."""
ENDS = frozenset({_S.DELIVERED, _S.REFUSED, _S.SKIPPED, _S.QUARANTINED})
# From these on the ledger knows which objects count.
DECIDED = frozenset({_S.MADE, _S.DELIVERING, _S.DELIVERED, _S.REFUSED, _S.SKIPPED})
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.READY: frozenset({_S.RUNNING, _S.QUARANTINED, _S.SUPERSEDED}),
    _S.RUNNING: frozenset(
        {_S.MADE, _S.REFUSED, _S.SKIPPED, _S.FAILED, _S.READY, _S.QUARANTINED, _S.SUPERSEDED}
    ),
    _S.FAILED: frozenset({_S.RUNNING, _S.QUARANTINED, _S.SUPERSEDED}),
    _S.MADE: frozenset({_S.DELIVERING, _S.QUARANTINED, _S.SUPERSEDED}),
    _S.DELIVERING: frozenset({_S.DELIVERED, _S.MADE, _S.QUARANTINED, _S.SUPERSEDED}),
    _S.DELIVERED: frozenset({_S.SUPERSEDED}),
    _S.REFUSED: frozenset({_S.READY, _S.SUPERSEDED}),
    _S.SKIPPED: frozenset({_S.READY, _S.SUPERSEDED}),
    _S.QUARANTINED: frozenset({_S.READY, _S.MADE, _S.SUPERSEDED}),
    _S.SUPERSEDED: frozenset(),
}


class LedgerError(MedkitError):
    """The ledger cannot be read or written, or is asked for what it does not have."""


class IllegalTransition(LedgerError):
    """A study cannot go from where it is to where it was sent; nothing was changed."""


class LeaseLost(LedgerError):
    """The study is no longer this worker's: its lease ran out, or the study was superseded. Nothing was changed."""
