"""What the ledger tells: a study, a result, a line of the journal, and how a batch is run."""

from __future__ import annotations

from dataclasses import dataclass

from medkit.batch.ledger.states import ENDS, State

__all__ = ["Entry", "Mode", "Reason", "Result", "StudyRecord", "Timing", "Waiting", "Withdrawal"]


@dataclass(frozen=True)
class Mode:
    """What all results of a batch have in common, from the first one on.

    Args:
        shadow: they are sent nowhere, ever.
        about: whom they are about: empty for their patients; for nobody, how dates are and the fingerprint of the key.
    """

    shadow: bool = False
    about: str = ""

    @property
    def dates(self) -> str | None:
        """What becomes of dates in results about nobody."""
        return self.about.partition(" ")[0] or None

    @property
    def told(self) -> str:
        """In words."""
        return f"{'with' if self.shadow else 'without'} shadow mode, results {self.whom}"

    @property
    def whom(self) -> str:
        """Whom results are about, in words."""
        key = self.about.partition(" ")[2]
        return (
            f"about nobody ({self.dates}, by the key of fingerprint {key})" if key else "about their patients"
        )


@dataclass(frozen=True)
class StudyRecord:
    """A study in its latest revision.

    Args:
        study: hash of its UID.
        state: of the latest revision; ``receiving`` while there is none yet.
        arriving: instances came since, and nothing of the study is begun until they are all there.
        revision: number of the latest, from 1; 0 while there is none.
        digest: hash of the instances of the latest, empty while there is none.
        instances: how many these are.
        attempts: at the stage that it is in, the present one included.
        owner: who works on it.
        since: when it came into this state, seconds since 1970 (UTC).
        code: short reason for the state, in kebab case.
        reason: one line for a person.
        recipe: what the results were made by.
        purged: whether its instances were removed after their time.
        results_purged: whether its results were, before all of them were delivered.
    """

    study: str
    state: State
    arriving: bool
    revision: int
    digest: str
    instances: int
    attempts: int
    owner: str | None
    since: float
    code: str | None
    reason: str | None
    recipe: str | None
    purged: bool
    results_purged: bool

    @property
    def ended(self) -> bool:
        """Whether it is at an end, and nothing comes of it."""
        return self.state in ENDS and not self.arriving


@dataclass(frozen=True)
class Result:
    """An object that was made, and how far it is on its way to one destination; times are seconds since 1970 (UTC).

    Args:
        uid: its SOP Instance UID, which is derived and tells nothing of the patient.
        destination: name of a sink.
        sha256: of what is compared when it is read back.
        path: where it lies, relative to the results folder.
        sending_at: when it was about to be sent: from then on it may be there.
        delivered_at: when the destination said that it has it.
        verified_at: when it was read back and found the same.
        withdrawn_at: when the destination was told that it no longer counts.
    """

    uid: str
    destination: str
    sha256: str
    path: str
    sending_at: float | None = None
    delivered_at: float | None = None
    verified_at: float | None = None
    withdrawn_at: float | None = None


@dataclass(frozen=True)
class Withdrawal:
    """An object of an earlier revision that may be at a destination and must not stay there."""

    study: str
    uid: str
    destination: str


@dataclass(frozen=True)
class Timing:
    """What a part of a stage took, over studies."""

    count: int
    total_seconds: float
    longest_seconds: float


@dataclass(frozen=True)
class Waiting:
    """Studies that are not done with something: how many, and since when the first of them, seconds since 1970 (UTC)."""

    count: int
    since: float | None


@dataclass(frozen=True)
class Reason:
    """How many studies are in a state for the same reason, and when the latest of them came into it."""

    state: State
    code: str
    count: int
    latest: float


@dataclass(frozen=True)
class Entry:
    """A line of the journal: at what time who moved which revision from where to where, and why."""

    at: float
    actor: str
    study: str
    revision: int | None
    before: State | None
    after: State
    code: str | None
    reason: str | None
