"""The first stage: from a claimed study in the store to the volumes that bundles will run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import State
from medkit.batch.making.reasons import INSPECT, tell_finding
from medkit.batch.making.verdicts import Verdict, may_come_again, verdict
from medkit.batch.making.wholeness import check_all_taken, check_whole, what_is_missed
from medkit.batch.rules import choose, might_fit, mismatch
from medkit.dicom.facts import is_own_result, rule_facts, series_facts
from medkit.dicom.findings import Refused, Repair, counted
from medkit.dicom.limits import Limits
from medkit.dicom.reading import read_each
from medkit.dicom.rejected import NOTE_CLASS, rejected_instances
from medkit.dicom.result import OTHER_KINDS
from medkit.dicom.writing.source import identifying
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from medkit.batch.ledger import Claim, Ledger, LedgerView
    from medkit.batch.making.context import MakingContext
    from medkit.batch.marks import Mark
    from medkit.batch.rules import Choice, Criteria, Job, Rule
    from medkit.batch.spool import Instance, Spool
    from medkit.dicom.findings import Finding
    from medkit.dicom.result import SeriesReading, SeriesVolume

__all__ = [
    "JobRead", "StudyRead", "Wanted", "read_revision", "read_stored", "read_study", "told_of_purge",
    "unless_arriving",
]  # fmt: skip

# Refusals of pictures that no rule could want.
_PICTURES = frozenset({"colour", "secondary-capture"})
_DIGITS = 12  # of a hash
_MISSING = frozenset({"instances-changed", "instances-missing"})


@dataclass(frozen=True)
class Wanted:
    """What is to be read of studies.

    Args:
        rules: which bundle a study goes to.
        repairs: of series, see :class:`medkit.dicom.Repair`.
        limits: of sizes of files, asked before anything is decoded.
        for_nobody: whether results are to be nobody's: a series that may have words in its pixels is refused.
    """

    rules: Sequence[Rule]
    repairs: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)
    for_nobody: bool = False


@dataclass(frozen=True, eq=False)
class JobRead:
    """A job and the volumes of its inputs, by name of the input."""

    job: Job
    volumes: dict[str, SeriesVolume]


@dataclass(frozen=True, eq=False)
class StudyRead:
    """A study whose bundles are chosen.

    Args:
        claim: the right to it.
        jobs: at least one.
        notes: for the reports: that other series could not be read, that instances were rejected, that no archive said
            how many there are, or that a person did without some.
        refused: of other series that rules want, how many were refused and why, in one line; ``None`` where none was.
    """

    claim: Claim
    jobs: tuple[JobRead, ...]
    notes: tuple[str, ...]
    refused: str | None


@dataclass(frozen=True, eq=False)
class _Refusal:
    """Of a series of this number and with these facts; neither where it belongs to none."""

    finding: Finding
    number: int | None = None
    facts: dict[str, Any] | None = None

    @property
    def modality(self) -> str | None:
        modality = None if self.facts is None else self.facts["modality"]
        return None if modality is None else str(modality).upper()

    @property
    def series(self) -> str | None:
        return None if self.facts is None else str(self.facts["series"])

    @property
    def told(self) -> str:
        """Without :data:`INSPECT`."""
        return tell_finding(self.number, self.finding)


def _name(number: int | None) -> str:
    return "a series without a number" if number is None else f"series {number}"


def _told(refusals: Iterable[_Refusal]) -> str:
    return f"{'; '.join(one.told for one in refusals)}; {INSPECT}"


def read_study(claim: Claim, context: MakingContext) -> StudyRead:
    """Read a study and choose its bundles. Voxels that no rule could want are let go at once.

    Args:
        claim: for ``make``.
        context: see there.

    Raises:
        Verdict: instances are missing, damaged or contradict each other; nothing fits, too much does; or a series that
            could fit cannot be read.
        UsageError: an unknown repair.
        OSError: the store cannot be read.
    """
    outputs = context.outputs
    wanted = Wanted(context.rules, outputs.repairs, context.limits, outputs.deidentify is not None)
    try:
        jobs, notes, refused = read_revision(claim.study, claim.digest, context.spool, wanted)
    except Verdict as verdict:
        raise unless_arriving(verdict, claim.study, context.ledger) from None
    return StudyRead(claim, jobs, (*notes, *told_of_purge(claim, context.ledger)), refused)


def told_of_purge(claim: Claim, ledger: Ledger) -> tuple[str, ...]:
    """What reports say of instances that came after the earlier ones had been removed: a person took them for all."""
    said = ledger.said_whole(claim.study, claim.revision)
    if said is None:
        return ()
    came = counted(said[0], "instance", "instances")
    after = f"{came} came after the earlier ones ({said[1]}) had been removed"
    return (f"{after}, and a person said that this is the whole study",)


def read_revision(
    study: str, digest: str, spool: Spool, wanted: Wanted
) -> tuple[tuple[JobRead, ...], tuple[str, ...], str | None]:
    """Read one revision of a study; no ledger is asked.

    Args:
        study: its hash.
        digest: of the instances that the revision is made of.
        spool: where they are.
        wanted: see there.

    Returns:
        As :func:`read_stored`.

    Raises:
        Verdict, UsageError, OSError: see :func:`read_study`.
    """
    files = spool.instances(study)
    if spool.digest(study) != digest:  # asked after the files: what came in between shows
        check_all_taken(spool, study)
        raise verdict(
            "instances-changed",
            "expected the instances that the study was completed with, got others; send the study again, whole",
        )
    return read_stored(study, files, spool, wanted)


def unless_arriving(verdict: Verdict, study: str, ledger: LedgerView) -> Verdict:
    """What a verdict on a study comes to: one that misses instances waits where some come just now."""
    if verdict.code in _MISSING and ledger.study(study).arriving:
        return Verdict(State.READY, "still-arriving", "instances came since the study was complete")
    return verdict


def read_stored(
    study: str, files: Sequence[Instance], spool: Spool, wanted: Wanted
) -> tuple[tuple[JobRead, ...], tuple[str, ...], str | None]:
    """Read instances of a study and choose its bundles; jobs, notes and what was refused as :class:`StudyRead` has them.

    Args:
        study: its hash.
        files: all instances of it.
        spool: where they are.
        wanted: see there.

    Raises:
        Verdict, UsageError, OSError: see :func:`read_study`.
    """
    check_whole(spool, study)
    said = spool.expected(study)
    expected = dict(said or {})
    desk = _read(files, expected, wanted)
    taken_back = ""
    if desk.has_notes and (left := _not_rejected(files, expected)) != files:
        desk.volumes.clear()  # or all voxels are held twice
        gone = len(files) - len(left)
        taken_back = f"left out {counted(gone, 'instance', 'instances')} that a rejection note takes back"
        desk = _read(left, expected, wanted)
    choice = _choice(wanted.rules, desk.facts)
    unread = desk.refused_that_might_fit()
    if not choice.jobs:
        raise _nothing_chosen(unread, choice.reasons, taken_back)
    desk.check_no_rival(choice.jobs)
    jobs = tuple(
        JobRead(job, {name: desk.volumes[series] for name, series in job.inputs}) for job in choice.jobs
    )
    refused = desk.told_of_refused(choice.jobs)
    counting = desk.told_of_counting(choice.jobs, said)
    return jobs, _notes(unread, taken_back, counting, spool.lifted(study)), refused


def _choice(rules: Sequence[Rule], facts: Sequence[dict[str, Any]]) -> Choice:
    """What to run; that nothing can be chosen is told as it is: names of rules, inputs and bundles are the operator's.

    Raises:
        Verdict: see :func:`medkit.batch.rules.choose`.
    """
    try:
        return choose(rules, facts)
    except CaseError as error:
        raise verdict(error.code, str(error)) from None


def _read(files: Sequence[Instance], expected: dict[str, int], wanted: Wanted) -> _Desk:
    """Read what is there of a study.

    Raises:
        Verdict: fewer images came than the archive has, or more is wanted than can be held.
    """
    desk = _Desk(wanted)
    paths = [file.path for file in files]
    _, strays = read_each(paths, desk.take, repairs=wanted.repairs, limits=wanted.limits)
    desk.refusals += [_Refusal(finding) for finding in strays if finding.code not in OTHER_KINDS]
    desk.check_all_there(expected)
    return desk


def _not_rejected(files: Sequence[Instance], expected: dict[str, int]) -> list[Instance]:
    """The files that no note among them takes back; of the others so many fewer are expected.

    Results of medkit stay: they are no source, and to tell of them in a report would make another report of it.
    """
    rejected = {uid: series for file in files for uid, series in rejected_instances(file.path).items()}
    hashes = {hash_uid(uid): series for uid, series in rejected.items()}
    taken_back = {file.instance for file in files if file.instance in hashes and not _is_own(file.path)}
    for instance in taken_back:
        if hashes[instance] in expected:
            expected[hashes[instance]] -= 1
    for series in [series for series, count in expected.items() if count <= 0]:
        del expected[series]
    return [file for file in files if file.instance not in taken_back]


def _is_own(path: Path) -> bool:
    try:
        return is_own_result(path)
    except Refused:  # the reader tells
        return False


class _Desk:
    """What was read of a study so far: facts on all volumes, and the voxels of those that an input could be."""

    def __init__(self, wanted: Wanted) -> None:
        self.rules, self.repairs, self.for_nobody = wanted.rules, wanted.repairs, wanted.for_nobody
        self.held_bytes, self.most_bytes = 0, wanted.limits.held_bytes
        self.facts: list[dict[str, Any]] = []
        self.volumes: dict[str, SeriesVolume] = {}
        self.refusals: list[_Refusal] = []
        self.has_notes = False
        self.files: dict[str, int] = {}  # of each series by its UID
        self.numbers: dict[str, int | None] = {}
        self.fewer: list[str] = []

    def take(self, series: SeriesReading) -> None:
        """Note the facts of a series, and keep its volumes where a rule could want them."""
        self.has_notes |= NOTE_CLASS in series.sop_classes
        self.files[series.series_instance_uid] = series.files
        self.numbers[series.series_instance_uid] = series.number
        self.refusals += [
            _Refusal(finding, series.number, series_facts(series)) for finding in series.refusals
        ]
        for volume in series.volumes:
            facts = rule_facts(volume)
            fits = any(
                mismatch(wanted, facts) is None for rule in self.rules for wanted in rule.inputs.values()
            )
            if fits and self.for_nobody and (finding := identifying(volume)) is not None:
                self.refusals.append(_Refusal(finding, series.number, facts))
                continue
            self.facts.append(facts)
            if fits:
                self._keep(facts["series"], volume)

    def _keep(self, name: str, volume: SeriesVolume) -> None:
        self.held_bytes += volume.array.nbytes
        if self.held_bytes > self.most_bytes:
            raise verdict(
                "too-large",
                f"expected volumes of at most {self.most_bytes / 2**20:.0f} MiB that rules want, got more; make the "
                "rules narrower, or raise the limit",
            )
        self.volumes[name] = volume

    def check_all_there(self, expected: Mapping[str, int]) -> None:
        """See that all came which the archive has; more may have come by another way.

        Of a study with files that cannot be read, of whatever series, as many may be missing: these are told instead.

        Args:
            expected: number of instances of each series by UID.

        Raises:
            Verdict: of some series, all of which are named, fewer came.
        """
        missing = {uid: number for uid, number in expected.items() if self.files.get(uid, 0) < number}
        accepts = Repair.ACCEPT_COUNT in self.repairs
        self.fewer = [self._missing(uid, missing[uid]) for uid in missing if accepts and uid in self.files]
        lacking = [self._missing(uid, missing[uid]) for uid in missing if not (accepts and uid in self.files)]
        unread = 0 if Repair.DROP_BROKEN in self.repairs else sum(one.facts is None for one in self.refusals)
        if lacking and sum(number - self.files.get(uid, 0) for uid, number in missing.items()) > unread:
            raise verdict(
                "count-mismatch",
                f"expected all images that the archive has, got fewer: {'; '.join(lacking)}; have the study sent again, "
                "whole",
            )

    def _missing(self, uid: str, number: int) -> str:
        if uid not in self.files:
            return f"none of the {number} of a series that did not come (hash {hash_uid(uid)[:_DIGITS]})"
        return f"{self.files[uid]} of the {number} of {_name(self.numbers[uid])}"

    def told_of_counting(self, jobs: Sequence[Job], counts: Mapping[str, int] | None) -> list[str]:
        """What the reports say of how many images the archive has.

        Args:
            jobs: that reports are about.
            counts: what it has of each series by UID; ``None`` where none was asked.
        """
        unchecked = "was not checked with an archive"
        if counts is None:
            return [f"the number of images {unchecked}"]
        told = [
            f"images as the archive counts them: {one}; taken as it is, as was asked for"
            for one in self.fewer
        ]
        used = dict.fromkeys(self.volumes[name].series_instance_uid for job in jobs for _, name in job.inputs)
        more = ", ".join(_name(self.numbers[uid]) for uid in used if self.files[uid] > counts.get(uid, 0))
        return [*told, f"the number of images of {more} {unchecked}, which has fewer"] if more else told

    def refused_that_might_fit(self) -> list[_Refusal]:
        """Refusals of series of a kind that some rule wants, and of files of which nothing is known.

        Those of what may come again are first: a study with one is tried again, whatever else is wrong with it.
        """
        wanted = {kind for rule in self.rules for one in rule.inputs.values() for kind in one.modality}
        found = [
            refusal
            for refusal in self.refusals
            if refusal.finding.code not in _PICTURES
            and (refusal.modality is None or refusal.modality in wanted)
        ]
        return sorted(found, key=lambda one: not may_come_again(one.finding.code))

    def told_of_refused(self, jobs: Sequence[Job]) -> str | None:
        """In one line, of the series that rules want how many were refused, and why; ``None`` where none was.

        Args:
            jobs: of those that were not.

        Raises:
            Verdict: one may come again, and the study be whole then.
        """
        refused = [one for one in self.refused_that_might_fit() if self._is_wanted(one)]
        if not refused:
            return None
        if may_come_again(refused[0].finding.code):  # those that may come first
            raise verdict(refused[0].finding.code, _told(refused))
        series = {one.series for one in refused}
        made = {self.volumes[name].series_instance_uid for job in jobs for _, name in job.inputs}
        which = ", ".join(dict.fromkeys(f"{one.finding.code} in {_name(one.number)}" for one in refused))
        was = "was" if len(series) == 1 else "were"
        of_all = f"{len(series)} of {len(series | made)} series that rules want {was} refused ({which})"
        return f"{of_all}: {_told(refused)}"

    def _is_wanted(self, refusal: _Refusal) -> bool:
        """Whether a rule might take a refused series, as far as can be told, with what else there is."""
        unread = [one.facts for one in self.refusals if one.facts is not None]

        def is_there(criteria: Criteria) -> bool:
            read = any(mismatch(criteria, facts) is None for facts in self.facts)
            return read or any(might_fit(criteria, facts) for facts in unread)

        return refusal.facts is not None and any(
            might_fit(one, refusal.facts) and all(map(is_there, rule.inputs.values()))
            for rule in self.rules
            for one in rule.inputs.values()
        )

    def check_no_rival(self, jobs: Sequence[Job]) -> None:
        """See that no series that cannot be read may have been wanted in the place of one that was chosen.

        Two series for one input are refused; that one of them is damaged must not make the other one right.

        Raises:
            Verdict: such a one.
        """
        chosen = {job.rule for job in jobs}
        inputs = [
            one
            for rule in self.rules
            if rule.name in chosen and not rule.each
            for one in rule.inputs.values()
        ]
        for refusal in self.refused_that_might_fit():
            if refusal.facts is not None and any(might_fit(one, refusal.facts) for one in inputs):
                rival = "as far as can be told it fits a rule as well as the series that was chosen"
                raise verdict(refusal.finding.code, f"{refusal.told}; {rival}; {INSPECT}")


def _nothing_chosen(unread: Sequence[_Refusal], reasons: Sequence[str], taken_back: str) -> Verdict:
    """A study with a series that could not be read, and might have been for us, is not passed over."""
    if unread:
        first = unread[0]
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        return verdict(first.finding.code, f"{first.told}{more}; {INSPECT}")
    if taken_back:
        return verdict("instances-rejected", f"{taken_back}, and no rule wants what is left")
    return Verdict(State.SKIPPED, "no-rule", "; ".join(reasons) or "there are no rules")


def _notes(
    unread: Sequence[_Refusal], taken_back: str, counting: Sequence[str], lifted: Sequence[Mark]
) -> tuple[str, ...]:
    notes = [*([taken_back] if taken_back else []), *counting]
    if lifted:
        what = what_is_missed(lifted, "instance or file was", "instances or files were", names_senders=False)
        notes.append(f"{what}, and a person said that the study is whole all the same")
    if unread:
        codes = ", ".join(sorted({refusal.finding.code for refusal in unread}))
        what = counted(len(unread), "other series or file", "other series or files")
        numbers = sorted({refusal.number for refusal in unread if refusal.number is not None})
        which = f": series {', '.join(map(str, numbers))}" if numbers else ""
        notes.append(f"{what} of the study could not be read ({codes}){which}")
    return tuple(notes)
