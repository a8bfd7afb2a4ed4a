"""What became of studies that went through faults: who is lost, doubled, changed, or ended without its reason?

Nothing here asks the service what it believes, but for how a broken study ended: good ones are judged by what their
destinations hold.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch_studies import WAYS, Sample

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerView, State
from medkit.batch.service.recovery import DIED
from medkit.batch.status.verification import verify
from medkit.data.writing import UNFINISHED

KINDS = ("lost", "doubled", "changed", "unexplained", "half-written")
_PARTIAL = (".part", ".tmp")


@dataclass(frozen=True)
class Held:
    """An object at a destination.

    Args:
        study: hash of its study.
        uid: its SOP Instance UID.
        content: hash of what it says.
        rejects: UIDs that it takes back, where it is a rejection note.
    """

    study: str
    uid: str
    content: str
    rejects: frozenset[str] = frozenset()


@dataclass
class Verdicts:
    """Faults by their kind.

    ``withdrawn`` are the objects that were taken back for later ones, ``excused`` the broken studies that ended as dead
    because they were killed at every attempt that did not show what is wrong with them.
    """

    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    withdrawn: int = 0
    excused: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is lost, doubled, changed, unexplained or half-written."""
        return not any(self.faults.values())


def judge_destination(
    name: str,
    samples: Iterable[Sample],
    expected: Mapping[str, Mapping[str, str]],
    held: Sequence[Held],
    found: Verdicts,
) -> None:
    """Compare what a destination holds with what it should.

    Args:
        name: of the destination.
        samples: all studies.
        expected: hash of each good study to the UIDs of its objects, with the hashes of what they say, as a run without
            faults makes them.
        held: every object there, each as often as it is there.
        found: is added to.
    """
    rejected = {uid for one in held for uid in one.rejects}
    found.withdrawn += len(rejected)
    for sample in samples:
        mine = [one for one in held if one.study == sample.study and not one.rejects]
        times = Counter(one.uid for one in mine)
        due = expected.get(sample.study, {})
        where = f"{name}, study {sample.number}"
        for uid, content in due.items():
            if uid in rejected:
                found.faults["lost"].append(f"{where}: {uid} was taken back")
            if not times[uid]:
                found.faults["lost"].append(f"{where}: {uid} is not there")
            if times[uid] > 1:
                found.faults["doubled"].append(f"{where}: {uid} is there {times[uid]} times")
            if any(one.uid == uid and one.content != content for one in mine):
                found.faults["changed"].append(f"{where}: {uid} says something else")
        others = sorted(uid for uid in times if uid not in due and uid not in rejected)
        found.faults["doubled"] += [f"{where}: {uid} should not be there" for uid in others]
    known = {sample.study for sample in samples}
    strays = [one for one in held if one.study not in known]
    found.faults["doubled"] += [f"{name}: {one.uid} is of no study that was sent" for one in strays]


def judge_ends(
    samples: Iterable[Sample],
    ends: Mapping[str, tuple[State, str | None]],
    explained: Mapping[str, int],
    attempts: int,
    found: Verdicts,
) -> None:
    """See that every good study ended as delivered, and every broken one for its reason.

    A broken study of which the last attempt was ended by a kill has that for its reason, where every other one was ended
    so as well or showed what is wrong with it. A good one has to get through all the same.

    Args:
        samples: all studies.
        ends: hash of each study to its state and code in the ledger.
        explained: hash of each study to how many of its attempts were ended by a kill, or for what is wrong with it.
        attempts: how many a study has.
        found: is added to.
    """
    for sample in samples:
        state, code = ends.get(sample.study, (None, None))
        got = f"study {sample.number}: {state or 'unknown to the ledger'}, {code or 'no reason'}"
        if not sample.way:
            if state is not State.DELIVERED:
                found.faults["lost"].append(got)
        elif (state, code) == (WAYS[sample.way].state, WAYS[sample.way].code):
            continue
        elif (state, code) == (State.QUARANTINED, DIED.code) and explained.get(sample.study, 0) >= attempts:
            found.excused += 1
        else:
            found.faults["unexplained"].append(f"{got}, though {sample.way}")


def judge_files(job: JobFolder, copies: Path, found: Verdicts) -> None:
    """Look for what was written half, or is left of attempts that died, and let medkit verify all that it keeps.

    Args:
        job: the folder of the batch, of which the service has ended.
        copies: the destination that is a folder.
        found: is added to.
    """
    half = found.faults["half-written"]
    for folder in (job.root, copies):
        names = [
            path for path in folder.rglob("*") if path.name.startswith(UNFINISHED) or path.suffix in _PARTIAL
        ]
        half += [f"{path.relative_to(folder.parent)} is unfinished" for path in names]
    left = [*(job.spool / "incoming").iterdir(), *(job.work / "workers").iterdir()]
    half += [f"{path.relative_to(job.root)} is left" for path in left]
    with LedgerView(job.ledger) as view:
        kept = {
            str(Path(result.path).parents[-4])
            for record in view.studies()
            for revision in range(1, record.revision + 1)
            for result in view.results(record.study, revision)
        }
        made = {str(path.relative_to(job.results)) for path in job.results.glob("*/*/*")}
        half += [f"results/{path} is of no attempt that counts" for path in sorted(made - kept)]
        half += [f"{fault.kind}: {fault.message}" for fault in verify(job, view).faults]
