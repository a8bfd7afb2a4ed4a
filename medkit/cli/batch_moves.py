"""The commands of ``medkit batch`` by which a person moves studies, or removes them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import Ledger, State, StudyRecord

__all__ = ["MOVES", "folder_argument"]

_DAY = 86400.0
_NO_REASON = "asked for at the command line"
_RETRIED = ("quarantined", "refused", "skipped")
folder_argument = click.argument("folder", type=click.Path(path_type=Path))
_reason = click.option(
    "--reason", default=_NO_REASON, metavar="TEXT",
    help=f"Why; it is kept, so name no patient. Without it, '{_NO_REASON}' is kept.",
)  # fmt: skip


@click.command("retry", short_help="Try studies again.")
@folder_argument
@click.argument("studies", nargs=-1)
@click.option("--state", type=click.Choice(_RETRIED), help="All that are in this state.")
@click.option("--code", metavar="CODE", help="Of these, those that are there for this reason.")
@_reason
def retry_command(
    folder: Path, studies: tuple[str, ...], state: str | None, code: str | None, reason: str
) -> None:
    """Try STUDIES of the batch in FOLDER again: they are quarantined, refused or skipped, and something was mended.

    Results that are on disk are delivered again; otherwise the study is made again. One that came after its earlier
    instances were purged (source-purged) is then taken for the whole: have all of it sent again first. The ledger and
    the audit log say who asked.

    Exit code 0: all will be tried; 3: some cannot be; 4: none can be; 2: a wrong call.
    """
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import State

    if bool(studies) == (state is not None) or (code is not None and state is None):
        got = "both" if studies and state else "--code alone" if code else "nothing"
        got = "studies and --code" if studies and code and not state else got
        raise UsageError(f"retry: expected studies, or --state (with --code or without), got {got}")

    def chosen(ledger: Ledger) -> list[str]:
        assert state is not None
        return [one.study for one in ledger.studies(State(state), code=code)]

    def then(ledger: Ledger, before: StudyRecord | None) -> str:
        return _taken_for_whole(ledger, before) + _still_missed(job, before)

    job = existing_job(folder)
    _move_all(
        folder, studies or chosen, "retried", "retried", lambda ledger, study: ledger.retry(study, reason),
        then=then, ledger_alone=True,
    )  # fmt: skip


def _taken_for_whole(ledger: Ledger, before: StudyRecord | None) -> str:
    from medkit.dicom.findings import counted

    said = None if before is None else ledger.said_whole(before.study, before.revision)
    if said is None:
        return ""
    there = f"{counted(said[0], 'instance', 'instances')}, where there had been {said[1]}"
    return (
        f"; what is there ({there}) counts as the whole study, which its reports will say: if more belongs to it, have "
        "all of it sent again"
    )


def _still_missed(job: JobFolder, before: StudyRecord | None) -> str:
    from medkit.batch.marks import StudyMarks

    marks = () if before is None else StudyMarks(job.spool).marks(before.study)
    if not marks:
        return ""
    codes = ", ".join(sorted({mark.code for mark in marks}))
    return f"; it is still not whole ({codes}): have that sent, or lift it (medkit batch lift), or it fails again"


@click.command("quarantine", short_help="Set studies aside.")
@folder_argument
@click.argument("studies", nargs=-1, required=True)
@_reason
def quarantine_command(folder: Path, studies: tuple[str, ...], reason: str) -> None:
    """Set STUDIES of the batch in FOLDER aside, until they are retried: they wait to be made or delivered.

    Quarantined ones stay so, and --reason takes the place of theirs: somebody has looked, and will not mend them. For
    what is set aside nobody is called. It is the instances that there are: where others come, the study begins anew.

    Exit code 0: all are set aside; 3: some cannot be; 4: none can be; 2: a wrong call.
    """

    def set_aside(ledger: Ledger, study: str) -> State:
        from medkit.batch.ledger import State

        ledger.quarantine(study, reason)
        return State.QUARANTINED

    _move_all(
        folder, studies, "set aside", "set-aside", set_aside,
        then=lambda *_: "; it is no alert any more until medkit batch retry", ledger_alone=True,
    )  # fmt: skip


@click.command("lift", short_help="Let studies be whole without what was not taken.")
@folder_argument
@click.argument("studies", nargs=-1, required=True)
@click.option("--code", metavar="CODE", help="Lift the marks with this code alone, such as cut-off.")
@_reason
def lift_command(folder: Path, studies: tuple[str, ...], code: str | None, reason: str) -> None:
    """Lift the marks of STUDIES of the batch in FOLDER which say that they are not whole: something was not taken.

    Look first whether that can be sent again: then the mark goes by itself. What is there is made then, as another
    revision, and its reports say what is missing. 'medkit batch history FOLDER STUDY' shows the marks. The ledger and
    the audit log say who asked.

    Exit code 0: all are lifted; 3: some have no mark, are being received or are gone; 4: all of them; 2: a wrong call.
    """
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import existing_job
    from medkit.batch.intake.lifting import lift_marks
    from medkit.batch.intake.take import Intake
    from medkit.batch.spool import existing_spool
    from medkit.batch.status.studies import operator

    job = existing_job(folder)

    def lift(ledger: Ledger, study: str) -> State:
        intake = Intake(ledger, existing_spool(job.spool), AuditLog(job.audit, operator()))
        lift_marks(intake, study, reason, code)
        return ledger.study(study).state

    _move_all(folder, studies, "lifted", "lifted", lift)


@click.command("dismiss", short_help="Wait no longer for studies of which no instance could be stored.")
@folder_argument
@click.argument("studies", nargs=-1, required=True)
@_reason
def dismiss_command(folder: Path, studies: tuple[str, ...], reason: str) -> None:
    """Wait no longer for STUDIES that began to come to the batch in FOLDER, and of which no instance could be stored.

    For those whose sender gave up: 'medkit batch status FOLDER --state receiving' has them, with 0 instances, and
    'medkit batch history FOLDER STUDY' says what was not taken, and why. Nothing may have been heard of them for an
    hour. Should one come after all, it is made. One of which something was made before stays what it is. The ledger and
    the audit log say who asked.

    Exit code 0: all are dismissed; 3: some are not being received, have instances or came within the hour, or the disk
    refused something of them; 4: all of them; 2: a wrong call.
    """
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import existing_job
    from medkit.batch.intake.dismissing import dismiss
    from medkit.batch.intake.take import Intake
    from medkit.batch.spool import existing_spool
    from medkit.batch.status.studies import operator

    job = existing_job(folder)
    spool = existing_spool(job.spool)

    def forget(ledger: Ledger, study: str) -> str:
        dismiss(Intake(ledger, spool, AuditLog(job.audit, operator())), study, reason)
        return ledger.study(study).state if ledger.find(study) else "gone"

    # One that was dismissed until something broke off is none of the ledger's any more.
    others = spool.studies()
    then = "; nothing more of it is awaited; should it come after all, it is made"
    _move_all(folder, studies, "dismissed", "dismissed", forget, others, then=lambda *_: then)


@click.command("purge", short_help="Remove patients' data: of studies that ended long ago, or of one.")
@folder_argument
@click.argument("studies", nargs=-1)
@click.option("--days", type=click.FloatRange(min=0), metavar="N",
    help="Without STUDIES: keep what ended, and the instances that came, within so many days.",
)  # fmt: skip
@_reason
def purge_command(folder: Path, studies: tuple[str, ...], days: float | None, reason: str) -> None:
    """Remove what the batch in FOLDER keeps of studies that ended more than N days ago, or the instances of STUDIES.

    With --days instances go, and of results all but class and UIDs, as a service does by itself after its
    retention_days; 'medkit batch run' never does. A service that works on the batch has to be stopped first.

    Of STUDIES, which are at an end (delivered, refused, skipped or quarantined), the instances go alone, results stay.
    It is for those that have to be sent again from the beginning, since an instance came with two contents: what comes
    next of them is taken for the whole, and made anew, also where that is a part, so have all of it sent. A service may
    work on the batch meanwhile.

    The ledger and the audit log keep their lines. What was delivered to folders is yours and stays.

    Exit code 0: all is gone, if there was anything; 2: a wrong call, or a service works on it; 3: some of STUDIES are
    not at an end, or the disk refused to remove them; 4: all of them, the ledger cannot be read, or, with --days, the
    disk refused to remove something, after which the rest is gone.
    """
    if bool(studies) == (days is not None):
        raise UsageError(f"purge: expected studies or --days, got {'both' if studies else 'nothing'}")
    given = click.get_current_context().get_parameter_source("reason") is ParameterSource.COMMANDLINE
    if given and days is not None:
        raise UsageError("purge: expected --reason with studies alone, got it with --days; leave it out")
    if days is None:
        _purge_studies(folder, studies, reason)
    else:
        _purge_old(folder, days)


def _purge_old(folder: Path, days: float) -> None:
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import Ledger
    from medkit.batch.service.keeping import INSTANCES_PURGED, RESULTS_PURGED, purge_old
    from medkit.batch.spool import existing_spool
    from medkit.batch.status.studies import operator
    from medkit.dicom.findings import counted

    job, actor = existing_job(folder), operator()
    with job.hold(), Ledger(job.ledger, actor) as ledger:
        gone = purge_old(job, ledger, existing_spool(job.spool), AuditLog(job.audit, actor), days * _DAY)
    for event, what in ((INSTANCES_PURGED, "instances"), (RESULTS_PURGED, "results")):
        click.echo(f"{what} of {counted(len(gone[event]), 'study', 'studies')} removed")


def _purge_studies(folder: Path, studies: tuple[str, ...], reason: str) -> None:
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import existing_job
    from medkit.batch.service.keeping import purge_study
    from medkit.batch.spool import existing_spool
    from medkit.batch.status.studies import operator
    from medkit.dicom.findings import counted

    job = existing_job(folder)
    spool, audit = existing_spool(job.spool), AuditLog(job.audit, operator())

    gone = 0

    def purge(ledger: Ledger, study: str) -> State:
        nonlocal gone
        gone = purge_study(ledger, spool, audit, study, reason)
        return ledger.study(study).state

    def then(*_: object) -> str:
        removed = (
            f"{counted(gone, 'instance', 'instances')} removed" if gone else "no instance of it was left"
        )
        return f"; {removed}; what comes next of it counts as the whole study, even a part: have all of it sent again"

    _move_all(folder, studies, "purged", "purged", purge, then=then)


MOVES = (retry_command, quarantine_command, lift_command, dismiss_command, purge_command)


def _move_all(
    folder: Path,
    studies: tuple[str, ...] | Callable[[Ledger], list[str]],
    said: str,
    event: str,
    move: Callable[[Ledger, str], str],
    others: Collection[str] = (),
    then: Callable[[Ledger, StudyRecord | None], str] = lambda *_: "",
    *,
    ledger_alone: bool = False,
) -> None:
    """Move each study, and say so here, in the ledger and in the audit log; what cannot be moved, or not all, is named.

    Those of ``others`` may be meant too, which the ledger does not know any more. ``then`` says of a study, as it was
    before, what a person has to know of what comes after. A move that changes the ledger alone, as ``ledger_alone``
    says, is not done where the audit log cannot be told; others tell it by themselves before they do anything.
    """
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import IllegalTransition, Ledger, State
    from medkit.batch.status.studies import find_study, operator

    job, actor = existing_job(folder), operator()
    with Ledger(job.ledger, actor) as ledger:
        found = (
            studies(ledger) if callable(studies) else [find_study(ledger, text, others) for text in studies]
        )
        audit, moved = AuditLog(job.audit, actor), 0
        for study in dict.fromkeys(found):
            record = ledger.study(study) if ledger.find(study) else None
            before = State.RECEIVING if record is None else record.state
            try:
                audit.take_up()  # or something is done that it cannot be told
                with ledger.together() if ledger_alone else nullcontext():
                    after = move(ledger, study)
                    audit.append(event, study=study, before=before, after=after)
            except (IllegalTransition, OSError) as error:
                click.echo(f"medkit: {_explained(study, error)}", err=True)
                continue
            click.echo(f"{said} {study[:12]}: {before}, now {after}{then(ledger, record)}")
            moved += 1
    if not found:
        click.echo("no such studies")
    left = len(dict.fromkeys(found)) - moved
    failed = ExitCode.SOME_FAILED if moved else ExitCode.NONE_SUCCEEDED
    raise click.exceptions.Exit(failed if left else ExitCode.DONE)


def _explained(study: str, error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
    return f"study {study}: {what}; look at the disk, and call again for this study"
