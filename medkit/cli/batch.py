"""``medkit batch``: the commands that look, and all others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medkit.cli.batch_moves import MOVES, folder_argument
from medkit.cli.batch_replay import replay_command
from medkit.cli.batch_run import run_command
from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.batch.audit import Head
    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import Entry, LedgerView, Result

_PATH = click.Path(path_type=Path)
# Spelled out, as in `State`, so that the help needs no ledger.
_STATES = (
    "receiving", "ready", "running", "failed", "made", "delivering", "delivered", "refused", "skipped", "quarantined",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print it for machines.")


@click.group("batch")
def command() -> None:
    """Run the studies of folders in a batch; watch over batches: how they stand, what became of them, what to retry.

    FOLDER is that of the batch, with ledger.sqlite in it. STUDY is the hash of a study or its beginning, as the tables
    show it, or its Study Instance UID.
    """


@command.command("status", short_help="Print how a batch stands.")
@folder_argument
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
    With --state, the studies in it, the newest first; exit code 0. As receiving, those are listed too that were begun
    before and of which more comes.
    """
    from medkit.batch.folder import existing_job
    from medkit.batch.ledger import LedgerView, State
    from medkit.batch.status.document import status_document, study_documents
    from medkit.batch.status.listing import studies_in
    from medkit.batch.status.service_record import service_alerts
    from medkit.batch.status.summary import summarise
    from medkit.cli.batch_tables import print_status, print_studies

    if code is not None and state is None:
        raise UsageError("status: expected --state with --code, got --code alone")
    job = existing_job(folder)
    with LedgerView(job.ledger) as view:
        if state is not None:
            studies = studies_in(job, view, State(state))
            # Only here, for a mark's code is none of the ledger's.
            studies = [one for one in studies if code in (None, one.code)]
            _print(study_documents(studies)) if as_json else print_studies(studies, time.time())
            return
        summary = summarise(view, time.time())
    told = service_alerts(job, summary, silent_hours)
    _print(status_document(summary, told)) if as_json else print_status(summary, told)
    raise click.exceptions.Exit(ExitCode.SOME_FAILED if told else ExitCode.DONE)


@command.command("history", short_help="Print what became of a study.")
@folder_argument
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
    """Print what the ledger in FOLDER says of STUDY, what was not taken of it or came with two
    contents, and its objects; or its latest lines.

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


@command.command("verify", short_help="Check all that a batch keeps.")
@folder_argument
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


for _one in (run_command, *MOVES, replay_command):
    command.add_command(_one)


def _print_study(job: JobFolder, view: LedgerView, study: str) -> None:
    from medkit.batch.marks import StudyMarks
    from medkit.cli.batch_tables import print_history, print_marks, print_results

    click.echo(f"study {study}")
    said = StudyMarks(job.spool)
    print_marks(said.marks(study), said.lifted(study), _conflicts(job, study))
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
    _print({
        "study": study,
        "not_taken": [*marks, *lifted],
        "conflicts": _conflicts(job, study),
        "history": history,
        "objects": objects,
    })  # fmt: skip


def _conflicts(job: JobFolder, study: str) -> list[str]:
    """Hashes of the instances that came with several contents; none where there is no store."""
    from medkit.batch.spool import Spool

    try:
        return Spool(job.spool, make=False).conflicts(study)
    except OSError:
        return []


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
