"""``medkit batch``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medkit.cli.batch_replay import replay_command
from medkit.cli.batch_run import run_command
from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from medkit.batch.audit import Head
    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import Entry, Ledger, LedgerView, Result, State

_PATH = click.Path(path_type=Path)
# Spelled out, as in `State`, so that the help needs no ledger.
_STATES = (
    "receiving", "ready", "running", "failed", "made", "delivering", "delivered", "refused", "skipped", "quarantined",
)  # fmt: skip
_DAY = 86400.0
_RETRIED = ("quarantined", "refused", "skipped")
_folder = click.argument("folder", type=_PATH)
_json = click.option("--json", "as_json", is_flag=True, help="Print it for machines.")
_reason = click.option(
    "--reason", default="asked for at the command line", metavar="TEXT", show_default=True,
    help="Why; it is kept, so name no patient.",
)  # fmt: skip


@click.group("batch")
def command() -> None:
    """Run the studies of folders in a batch; watch over batches: how they stand, what became of them, what to retry.

    FOLDER is that of the batch, with ledger.sqlite in it. STUDY is the hash of a study or its beginning, as the tables
    show it, or its Study Instance UID.
    """


command.add_command(run_command)


@command.command("status", short_help="Print how a batch stands.")
@_folder
@click.option("--state", type=click.Choice(_STATES), help="List the studies that are in this state instead.")
@click.option("--code", metavar="CODE", help="Of these, those that are there for this reason.")
@click.option("--silent-hours", type=click.FloatRange(min=0, min_open=True), metavar="N",
    help="Tell as well if nothing came for so many hours, whatever the service's settings say.",
)  # fmt: skip
@_json
def status_command(
    folder: Path, state: str | None, code: str | None, silent_hours: float | None, as_json: bool
) -> None:
    """Print how the batch in FOLDER stands, whether a service works on it, and what a person has to look at.

    It calls a person when the service's settings say so, those of the last one where none runs.

    Exit code 0: nothing; 3: something, which is named first; 2: FOLDER is none of a batch; 4: its ledger cannot be read.
    With --state, the studies in it, the newest first; exit code 0.
    """
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import LedgerView, State
    from medkit.batch.status.document import status_document, study_documents
    from medkit.batch.status.not_taken import with_what_was_not_taken
    from medkit.batch.status.service_record import service_alerts
    from medkit.batch.status.summary import summarise
    from medkit.cli.batch_tables import print_status, print_studies

    if code is not None and state is None:
        raise UsageError("status: expected --state with --code, got --code alone")
    job = existing_job(folder)
    with LedgerView(job.ledger) as view:
        if state is not None:
            studies = with_what_was_not_taken(job, view.studies(State(state), code=code, newest_first=True))
            _print(study_documents(studies)) if as_json else print_studies(studies, time.time())
            return
        summary = summarise(view, time.time())
    told = service_alerts(job, summary, silent_hours)
    _print(status_document(summary, told)) if as_json else print_status(summary, told)
    raise click.exceptions.Exit(ExitCode.SOME_FAILED if told else ExitCode.DONE)


@command.command("history", short_help="Print what became of a study.")
@_folder
@click.argument("study", required=False)
@click.option("--last", default=50, type=click.IntRange(min=1), show_default=True, metavar="N",
    help="Without STUDY: so many of the latest lines.",
)  # fmt: skip
@click.option("--made-by", "maker", metavar="BUNDLE",
    help="Without STUDY: each line in which results were made by this bundle: its name, with its version or without, or "
    "four or more digits of its digest.",
)  # fmt: skip
@_json
def history_command(folder: Path, study: str | None, last: int, maker: str | None, as_json: bool) -> None:
    """Print what the ledger in FOLDER says of STUDY, what was not taken of it, and its objects; or its latest lines.

    Exit code 0; 2: FOLDER is none of a batch, there is no such study, or nothing was ever made by BUNDLE.
    """
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import LedgerView
    from medkit.batch.status.document import history_documents
    from medkit.batch.status.studies import find_study
    from medkit.cli.batch_tables import print_history

    if study is not None and maker is not None:
        raise UsageError("history: expected STUDY or --made-by, got both")
    job = existing_job(folder)
    with LedgerView(job.ledger) as view, view.reading():
        if study is None:
            entries = view.history(latest=last) if maker is None else _made_by(view, maker)
            _print(history_documents(entries)) if as_json else print_history(entries, studies=True)
        else:
            (_print_study_json if as_json else _print_study)(job, view, find_study(view, study))


def _made_by(view: LedgerView, maker: str) -> list[Entry]:
    from medkit.batch.ledger.makers import makers_in

    if entries := view.made_by(maker):
        return entries
    known = sorted({one for entry in view.made_by() for one in makers_in(entry.reason)})
    raise UsageError(
        f"--made-by: expected a bundle by which something was made ({'; '.join(known) or 'there is none yet'}), got "
        f"'{maker}'"
    )


@command.command("retry", short_help="Try studies again.")
@_folder
@click.argument("studies", nargs=-1)
@click.option("--state", type=click.Choice(_RETRIED), help="All that are in this state.")
@click.option("--code", metavar="CODE", help="Of these, those that are there for this reason.")
@_reason
def retry_command(
    folder: Path, studies: tuple[str, ...], state: str | None, code: str | None, reason: str
) -> None:
    """Try STUDIES of the batch in FOLDER again: they are quarantined, refused or skipped, and something was mended.

    Results that are on disk are delivered again; otherwise the study is made again. The ledger and the audit log say
    who asked.

    Exit code 0: all will be tried; 3: some cannot be; 4: none can be; 2: a wrong call.
    """
    from medkit.batch.ledger import State

    if bool(studies) == (state is not None) or (code is not None and state is None):
        got = "both" if studies and state else "--code alone" if code else "nothing"
        got = "studies and --code" if studies and code and not state else got
        raise UsageError(f"retry: expected studies, or --state (with --code or without), got {got}")

    def chosen(ledger: Ledger) -> list[str]:
        assert state is not None
        return [one.study for one in ledger.studies(State(state)) if code in (None, one.code)]

    _move_all(
        folder, studies or chosen, "retried", "retried", lambda ledger, study: ledger.retry(study, reason)
    )


@command.command("quarantine", short_help="Set studies aside.")
@_folder
@click.argument("studies", nargs=-1, required=True)
@_reason
def quarantine_command(folder: Path, studies: tuple[str, ...], reason: str) -> None:
    """Set STUDIES of the batch in FOLDER aside, which wait to be made or delivered, until they are retried.

    What is set aside are the instances that there are: where others come, the study begins anew.

    Exit code 0: all are set aside; 3: some cannot be; 4: none can be; 2: a wrong call.
    """

    def set_aside(ledger: Ledger, study: str) -> State:
        from medkit.batch.ledger import State

        ledger.quarantine(study, reason)
        return State.QUARANTINED

    _move_all(folder, studies, "set aside", "set-aside", set_aside)


@command.command("lift", short_help="Let studies be whole without what was not taken.")
@_folder
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


@command.command("dismiss", short_help="Await studies no longer of which nothing could be taken.")
@_folder
@click.argument("studies", nargs=-1, required=True)
@_reason
def dismiss_command(folder: Path, studies: tuple[str, ...], reason: str) -> None:
    """Await STUDIES no longer that began to come to the batch in FOLDER, and of which nothing is there but marks.

    For those whose sender gave up: 'medkit batch history FOLDER STUDY' says what was not taken, and why. Nothing may
    have been heard of them for an hour. Should one come after all, it is made. The ledger and the audit log say who
    asked.

    Exit code 0: all are dismissed; 3: some are there, made, or came just now; 4: all of them; 2: a wrong call.
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
        return "gone"

    # One that was dismissed until something broke off is none of the ledger's any more.
    _move_all(folder, studies, "dismissed", "dismissed", forget, spool.studies())


@command.command("purge", short_help="Remove patients' data: of studies that ended long ago, or of one.")
@_folder
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
    next of them is taken for the whole, and made anew. A service may work on the batch meanwhile.

    The ledger and the audit log keep their lines. What was delivered to folders is yours and stays.

    Exit code 0: all is gone, if there was anything; 2: a wrong call, or a service works on it; 3: some of STUDIES are
    not at an end; 4: all of them, the ledger cannot be read, or the disk refused to remove something, after which the
    rest is gone.
    """
    if bool(studies) == (days is not None):
        raise UsageError(f"purge: expected studies or --days, got {'both' if studies else 'nothing'}")
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

    job = existing_job(folder)
    spool, audit = existing_spool(job.spool), AuditLog(job.audit, operator())

    def purge(ledger: Ledger, study: str) -> State:
        purge_study(ledger, spool, audit, study, reason)
        return ledger.study(study).state

    _move_all(folder, studies, "removed the instances of", "purged", purge)


@command.command("verify", short_help="Check all that a batch keeps.")
@_folder
@click.option("--head", "heads", multiple=True, metavar="NUMBER:SHA256",
    help="An end of the audit log that was kept elsewhere, as this command printed it; may be given several times.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Do not hash the stored instances again.")
def verify_command(folder: Path, heads: tuple[str, ...], quick: bool) -> None:
    """Check the ledger in FOLDER against its journal, the audit log's chain, and every stored instance.

    The batch may go on meanwhile. The audit log's end is printed: keep it where this machine cannot write.

    Exit code 0: all is as it was left; 3: something is not; 2: a wrong call; 4: the ledger cannot be read.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import LedgerView
    from medkit.batch.status.verification import verify
    from medkit.dicom.findings import counted

    job, through = existing_job(folder), [_head(text) for text in heads]
    with LedgerView(job.ledger) as view, Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("studies", total=None)
        found = verify(
            job, view, through=through, hashes=not quick,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )  # fmt: skip
    for fault in found.faults:
        click.echo(f"fault in {fault.kind}: {fault.message}")
    studies = counted(found.studies, "study", "studies")
    instances = counted(found.instances, "stored instance", "stored instances")
    faults = counted(len(found.faults), "fault", "faults")
    click.echo(f"{studies}, {faults}" if quick else f"{studies}, {instances} hashed, {faults}")
    if found.head is not None:
        click.echo(f"audit log: {found.head.number}:{found.head.sha256}")
    raise click.exceptions.Exit(ExitCode.SOME_FAILED if found.faults else ExitCode.DONE)


@command.command("check-rules", short_help="Check a rules file.")
@click.argument("rules", type=_PATH)
def check_rules_command(rules: Path) -> None:
    """Check the file RULES: what it says, that there are the bundles that it names, and that they have its inputs.

    Exit code 0: all is right; 2: something is not, which is named with its line.
    """
    from medkit.batch.making.known import fitting_bundle
    from medkit.batch.rules_file import check_rules, read_rules
    from medkit.batch.yaml_faults import Place, placed

    faults = check_rules(rules)
    named = read_rules(rules) if not faults else ()
    unfit: list[tuple[Place, str]] = []
    for number, rule in enumerate(named):
        try:
            fitting_bundle(rule)
        except UsageError as error:
            unfit.append((("rules", number, "bundle"), str(error)))
    faults += placed(rules, unfit)
    for fault in faults:
        click.echo(fault, err=True)
    for rule in named if not faults else ():
        click.echo(f"{rule.name}: {rule.bundle} ({', '.join(rule.inputs)})")
    raise click.exceptions.Exit(ExitCode.USAGE if faults else ExitCode.DONE)


command.add_command(replay_command)


def _move_all(
    folder: Path,
    studies: tuple[str, ...] | Callable[[Ledger], list[str]],
    said: str,
    event: str,
    move: Callable[[Ledger, str], str],
    others: Collection[str] = (),
) -> None:
    """Move each study, and say so here, in the ledger and in the audit log; what cannot be moved is named.

    Those of ``others`` may be meant too, which the ledger does not know any more.
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
            before = ledger.study(study).state if ledger.find(study) else State.RECEIVING
            try:
                after = move(ledger, study)
            except IllegalTransition as error:
                click.echo(f"medkit: {error}", err=True)
                continue
            audit.append(event, study=study, before=before, after=after)
            click.echo(f"{said} {study[:12]}: {before}, now {after}")
            moved += 1
    if not found:
        click.echo("no such studies")
    left = len(dict.fromkeys(found)) - moved
    failed = ExitCode.SOME_FAILED if moved else ExitCode.NONE_SUCCEEDED
    raise click.exceptions.Exit(failed if left else ExitCode.DONE)


def _print_study(job: JobFolder, view: LedgerView, study: str) -> None:
    from medkit.batch.marks import StudyMarks
    from medkit.cli.batch_tables import print_history, print_marks, print_results

    click.echo(f"study {study}")
    said = StudyMarks(job.spool)
    print_marks(said.marks(study), said.lifted(study))
    print_history(view.history(study), studies=False)
    for revision, results in _objects(view, study):
        click.echo(f"objects of revision {revision}")
        print_results(results)


def _print_study_json(job: JobFolder, view: LedgerView, study: str) -> None:
    from medkit.batch.marks import StudyMarks
    from medkit.batch.status.document import history_documents, mark_documents, result_documents

    said = StudyMarks(job.spool)
    marks = mark_documents(said.marks(study), lifted=False)
    lifted = mark_documents(said.lifted(study), lifted=True)
    objects = [one for number, results in _objects(view, study) for one in result_documents(results, number)]
    history = history_documents(view.history(study))
    _print({"study": study, "not_taken": [*marks, *lifted], "history": history, "objects": objects})


def _objects(view: LedgerView, study: str) -> Iterator[tuple[int, list[Result]]]:
    """The objects of each revision that has any."""
    for revision in range(1, view.study(study).revision + 1):
        if results := view.results(study, revision):
            yield revision, results


def _head(text: str) -> Head:
    from medkit.batch.audit import Head
    from medkit.batch.identity import is_hash

    number, _, sha256 = text.partition(":")
    if not (number.isascii() and number.isdigit() and is_hash(sha256)):
        raise UsageError(f"--head: expected NUMBER:SHA256 as medkit batch verify printed it, got '{text}'")
    return Head(int(number), sha256)


def _print(content: Any) -> None:
    click.echo(json.dumps(content, indent=2))
