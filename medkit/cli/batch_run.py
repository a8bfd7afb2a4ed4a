"""``medkit batch run``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medkit.cli.cluster_options import cluster_options, cluster_settings
from medkit.cli.result_options import REPAIRS, kind_option, repair_option, sheared_option
from medkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import Progress

    from medkit.batch.intake.folder import FolderTaken
    from medkit.batch.ledger import Ledger, State
    from medkit.batch.making import Outputs
    from medkit.batch.service.settings import Settings
    from medkit.batch.service.supervisor import Supervisor

__all__ = ["run_command"]

_PATH = click.Path(path_type=Path)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_RETRY_SECONDS = 5.0  # somebody waits
_FREE_BYTES = 1 << 30
_SHOWN = 20


@click.command("run", epilog=REPAIRS, short_help="Run all studies of folders and zips.")
@click.argument("inputs", nargs=-1, required=True, type=_PATH)
@click.option("--rules", required=True, type=_PATH, help="File that says which bundle a study goes to.")
@click.option(
    "--output", "-o", required=True, type=_PATH, help="Folder of the batch; results are in delivered/."
)
@click.option("--workers", default=1, type=click.IntRange(min=1), show_default=True, help="Processes.")
@cluster_options
@click.option("--memory-gib", type=_POSITIVE, metavar="N",
    help="Of one worker; without, nine tenths of the machine's memory, shared by the workers.",
)  # fmt: skip
@click.option("--stage-seconds", type=_POSITIVE, metavar="N",
    help="For reading, for predicting and for writing a study; 3600 by default.",
)  # fmt: skip
@click.option("--device", help="Such as cpu or cuda:1; each bundle's own choice by default.")
@click.option("--accept-licence", is_flag=True, help="Accept terms that forbid commercial use.")
@kind_option
@click.option("--type", "segmentation_type", type=click.Choice(["BINARY", "LABELMAP"]), help="Of seg.")
@sheared_option
@click.option("--deidentify", type=click.Choice(["remove-dates", "shift-dates"]),
    help="Results about nobody, by the key in MEDKIT_DEIDENTIFICATION_KEY; what came stays as it is.",
)  # fmt: skip
@repair_option
def run_command(
    inputs: tuple[Path, ...],
    rules: Path,
    output: Path,
    workers: int,
    memory_gib: float | None,
    stage_seconds: float | None,
    device: str | None,
    accept_licence: bool,
    kinds: tuple[str, ...],
    segmentation_type: str | None,
    allow_sheared: bool,
    deidentify: str | None,
    repairs: tuple[str, ...],
    **cluster: Any,
) -> None:
    """Make and write results for all studies in INPUTS, folders, zips or files of DICOM, and end when all are ended.

    OUTPUT is the folder of the batch: 'medkit batch status OUTPUT' looks at it, and results are in
    OUTPUT/delivered/STUDY/. A second call goes on where one was stopped or killed; what is delivered stays as it is,
    whatever options it has. What came is kept in OUTPUT/spool.

    Exit code 0: all studies are delivered, or no rule wants them; 3: some are refused, as a whole or in part, or
    quarantined, or not begun since something of them is still to come, or files are broken, or an input holds no DICOM,
    or the audit log was changed; 4: the same, and none is delivered, or the audit log takes no line; 2: a wrong call, or
    a folder without any file; 130: interrupted.
    """
    from medkit.batch.logs import LogSettings, set_up_logs
    from medkit.batch.service.settings import work_limits
    from medkit.batch.service.supervisor import Supervisor

    limits = {"memory_gib": memory_gib, "stage_seconds": stage_seconds}
    outputs = _outputs(kinds, segmentation_type, allow_sheared, deidentify, repairs)
    outputs.deidentifier()  # that there is none is told before anything is made
    settings = replace(
        _settings(rules, output, workers, device, accept_licence),
        outputs=outputs,
        limits=work_limits({key: value for key, value in limits.items() if value is not None}),
        cluster=cluster_settings(workers, **cluster),
    )
    supervisor = Supervisor(settings, logs := LogSettings("text", output / "batch.log"))
    try:
        set_up_logs(logs, "service")
        taken = _run(supervisor, inputs)
        if taken is None:
            click.echo("medkit: interrupted; the same call goes on", err=True)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED)
        _tell(supervisor, dict(zip(inputs, taken, strict=True)), output)
    finally:
        supervisor.close()


def _settings(rules: Path, output: Path, workers: int, device: str | None, accept_licence: bool) -> Settings:
    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import Policy
    from medkit.batch.making import BundleSettings
    from medkit.batch.rules_file import read_rules
    from medkit.batch.service.settings import Settings
    from medkit.batch.spool import SpoolLimits
    from medkit.data.writing import make_folder

    known = read_rules(rules)
    make_folder(output / "delivered")
    return Settings(
        job=JobFolder(output.absolute()),
        rules=known,
        folders={"folder": output.absolute() / "delivered"},
        bundles={rule.bundle: BundleSettings(accept_licence=accept_licence) for rule in known},
        workers=workers,
        device=device,
        policy=Policy(delay_seconds=_RETRY_SECONDS),
        spool=SpoolLimits(free_bytes=_FREE_BYTES),
        status_port=None,
    )


def _outputs(
    kinds: tuple[str, ...],
    segmentation_type: str | None,
    allow_sheared: bool,
    deidentify: str | None,
    repairs: tuple[str, ...],
) -> Outputs:
    from medkit.batch.making import Outputs
    from medkit.dicom.confidentiality import Dates
    from medkit.dicom.writing.results import ResultKind
    from medkit.dicom.writing.segmentation import SegmentationType

    given: dict[str, Any] = {}
    if kinds:
        given["kinds"] = tuple(ResultKind(kind) for kind in kinds)
    if segmentation_type is not None:
        given["segmentation_type"] = SegmentationType(segmentation_type)
    if deidentify is not None:
        given["deidentify"] = Dates(deidentify)
    return Outputs(**given, allow_sheared=allow_sheared, repairs=repairs)


def _run(supervisor: Supervisor, inputs: tuple[Path, ...]) -> list[FolderTaken] | None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from medkit.cli.signals import signals_call

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        signals_call(supervisor.stop),
    ):
        show = _Bars(progress)
        return supervisor.run_once(inputs, show.show)


class _Bars:
    """A bar for files that are taken, and one for studies that are ended."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._files = progress.add_task("files taken", total=None)
        self._studies = progress.add_task("studies", total=None)

    def show(self, done: int, files: int, counts: Mapping[State, int]) -> None:
        """Show how it stands."""
        from medkit.batch.ledger.states import ENDS

        ended = sum(counts[state] for state in ENDS)
        self._progress.update(self._files, completed=done, total=files or None)
        self._progress.update(self._studies, completed=ended, total=sum(counts.values()) or None)


def _tell(supervisor: Supervisor, inputs: Mapping[Path, FolderTaken], output: Path) -> None:
    """Print what became of everything, and end with the exit code for it."""
    from medkit.batch.ledger import PARTLY_REFUSED, State
    from medkit.dicom.findings import counted

    ledger, taken = supervisor.ledger, inputs.values()
    counts = ledger.counts()
    partly = len(ledger.studies(State.DELIVERED, code=PARTLY_REFUSED))
    _tell_studies(ledger, output)
    broken = [finding.message for one in taken for finding in one.broken]
    for message in broken[:_SHOWN]:
        click.echo(f"broken      {message}")
    if len(broken) > _SHOWN:
        click.echo(f"broken      ... and {len(broken) - _SHOWN} more")
    postponed = {study for one in taken for study in one.postponed}
    if postponed:
        click.echo(
            f"not taken   {counted(len(postponed), 'study', 'studies')}: the disk is nearly full; make room, and "
            "call again"
        )
    waiting = {one.study for one in ledger.arrivals()} - postponed
    if waiting:
        click.echo(
            f"not begun   {counted(len(waiting), 'study', 'studies')} of which something is still to come: "
            f"medkit batch status {output} --state receiving"
        )
    strange = [path for path, one in inputs.items() if not one.found]
    for path in strange:
        click.echo(f"no DICOM    {path}: expected studies, got other files")
    if supervisor.audit_broken is not None:
        click.echo(f"audit log   {supervisor.audit_broken}")
    told = (State.DELIVERED, State.SKIPPED, State.REFUSED, State.QUARANTINED)
    of_them = {State.DELIVERED: f" ({partly} of them {PARTLY_REFUSED})"} if partly else {}
    click.echo(", ".join(f"{counts[state]} {state}{of_them.get(state, '')}" for state in told))
    click.echo(f"results     {output / 'delivered'}")
    bad = counts[State.QUARANTINED] or counts[State.REFUSED] or partly
    if bad or broken or postponed or waiting or strange or supervisor.audit_broken is not None:
        raise click.exceptions.Exit(
            ExitCode.SOME_FAILED if counts[State.DELIVERED] else ExitCode.NONE_SUCCEEDED
        )


def _tell_studies(ledger: Ledger, output: Path) -> None:
    """Print those of which not all is delivered, and by which call all of them are listed where they are many."""
    from medkit.batch.ledger import PARTLY_REFUSED, State
    from medkit.cli.batch_tables import print_studies

    asked = (
        (State.QUARANTINED, None),
        (State.REFUSED, None),
        (State.DELIVERED, PARTLY_REFUSED),
        (State.SKIPPED, None),
    )
    found = [(state, code, ledger.studies(state, code=code)) for state, code in asked]
    if shown := [one for _, _, studies in found for one in studies[:_SHOWN]]:
        print_studies(shown, time.time())
    for state, code, studies in found:
        if len(studies) > _SHOWN:
            option = f"--state {state}" if code is None else f"--state {state} --code {code}"
            click.echo(
                f"... and {len(studies) - _SHOWN} more {code or state}: medkit batch status {output} {option}"
            )
