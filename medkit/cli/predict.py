"""``medkit predict``."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medkit.allocator import keep_freed_memory
from medkit.bundle.overrides import parse_overrides
from medkit.bundle.store import find_bundle
from medkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from medkit.bundle.store import BundleFolder
    from medkit.data.cases import Case
    from medkit.inference.predictor import LoadedBundle
    from medkit.inference.run import CaseOutcome, RunOptions


_SHOWN_NOTES = 5


@click.command("predict")
@click.argument("bundle")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="Results folder.")
@click.option("--device", help="Such as cpu or cuda:1; the bundle's own choice by default.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config key.")
@click.option("--flips", default="", metavar="AXES", help="Average over mirror images: LR, AP, SI, or LR,AP.")
@click.option(
    "--ensemble",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Average over the folds of a training run.",
)
@click.option(
    "--weights", multiple=True, type=click.Path(path_type=Path), help="Other weights; of several, the mean."
)
@click.option("--accept-licence", is_flag=True, help="Accept terms that forbid commercial use.")
@click.option("--force", is_flag=True, help="Run finished cases again; replace other results.")
@click.option("--no-pictures", is_flag=True, help="Draw no picture of each case.")
@click.option("--probabilities", is_flag=True, help="Write the class probabilities too.")
@click.option("--uncertainty", is_flag=True, help="Write entropy maps, and how sure each structure is.")
@click.option(
    "--no-calibration", is_flag=True, help="Leave probabilities and entropy as the network gives them."
)
@click.option("--features", is_flag=True, help="Write the network's last feature maps too.")
def command(
    bundle: str,
    inputs: tuple[Path, ...],
    output: Path,
    device: str | None,
    overrides: tuple[str, ...],
    flips: str,
    ensemble: Path | None,
    weights: tuple[Path, ...],
    accept_licence: bool,
    force: bool,
    no_pictures: bool,
    probabilities: bool,
    uncertainty: bool,
    no_calibration: bool,
    features: bool,
) -> None:
    """Segment INPUTS (image files, folders, or .txt/.json lists) with BUNDLE.

    BUNDLE is one of `medkit bundle list`, or the folder of any MONAI bundle. OUTPUT receives labels/,
    pictures/, volumes.csv and report.json; a second call skips what is finished.
    """
    folder, changes = find_bundle(bundle), parse_overrides(overrides)
    if ensemble and weights:
        raise click.UsageError("--ensemble and --weights: expected one of them, got both; leave one out.")
    from rich.console import Console

    from medkit.data.cases import find_cases

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    found = find_cases(
        inputs, on_left_out=lambda line: console.print(f"left out {_printable(line)}", markup=False)
    )
    _quieten_libraries()
    keep_freed_memory()
    with console.status(f"loading {folder.name}"):
        with _without_mlflow(folder):
            from medkit.inference.ensemble import fold_weights
            from medkit.inference.loading import load_bundle
            from medkit.inference.run import RunOptions, leave_out_results

        cases = leave_out_results(found, output)
        loaded = load_bundle(
            folder.root,
            device=device,
            overrides=changes,
            flips=flips,
            weights=fold_weights(ensemble) if ensemble else weights,
            accept_licence=accept_licence,
            calibrate=not no_calibration,
        )
    options = RunOptions(
        force=force,
        pictures=not no_pictures,
        probabilities=probabilities,
        uncertainty=uncertainty,
        features=features,
    )
    with _term_interrupts():
        outcomes = _predict_with_progress(loaded, cases, output, options, console)
    _summarise(outcomes, output)


@contextmanager
def _without_mlflow(bundle: BundleFolder) -> Iterator[None]:
    """Hide MLflow from MONAI, whose import would take most of a second longer for it.

    Nothing else is hidden: MONAI goes on believing for good that what it did not find is not there.
    """
    config = bundle.config_path("inference").read_text(encoding="utf-8", errors="replace")
    if "mlflow" in sys.modules or "mlflow" in config.lower():
        yield
        return
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # stands for "not to be found"
    try:
        yield
    finally:
        del sys.modules["mlflow"]


@contextmanager
def _term_interrupts() -> Iterator[None]:
    """Let SIGTERM, with which schedulers and containers end a process, do as Ctrl-C does: the report is assembled."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _quieten_libraries() -> None:
    """Keep what libraries remark on out of the way of what medkit has to say."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger("nibabel").setLevel(logging.CRITICAL)


def _predict_with_progress(
    bundle: LoadedBundle, cases: Sequence[Case], output: Path, options: RunOptions, console: Console
) -> list[CaseOutcome]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from medkit.inference.run import predict_cases

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console)
    task = progress.add_task("segmenting", total=len(cases))
    windows = progress.add_task("windows of a case", total=None, visible=False)
    with ExitStack() as stack:

        def begin(memory: str) -> None:
            console.print(memory)
            stack.enter_context(progress)

        def show_windows(done: int, total: int) -> None:
            progress.update(windows, completed=done, total=total, visible=done < total)

        def show(outcome: CaseOutcome) -> None:
            progress.advance(task)
            if outcome.status == "failed":
                console.print(Text.assemble(("failed ", "red"), _printable(outcome.record["reason"])))

        outcomes = predict_cases(
            bundle, cases, output, options, on_start=begin, on_windows=show_windows, on_case=show
        )
        progress.update(windows, visible=False)  # those of a case that failed among them
        return outcomes


def _printable(line: str) -> str:
    """A line with the name of a file, which may be in no encoding at all."""
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def show_notes(outcomes: Sequence[CaseOutcome]) -> None:
    """What was remarked on most cases first, and how much more there is."""
    noted = [tuple(dict.fromkeys(outcome.record.get("notes", ()))) for outcome in outcomes]
    if not (number := sum(map(bool, noted))):
        return
    notes = Counter(note for of_case in noted for note in of_case).most_common()
    click.echo(f"remarks     on {number} of them; those of each are in volumes.csv and in the report:")
    for note, count in notes[:_SHOWN_NOTES]:
        click.echo(_printable(f"            - {note}" + f" ({count} cases)" * (count > 1)))
    if len(notes) > _SHOWN_NOTES:
        click.echo(f"            - and {len(notes) - _SHOWN_NOTES} others")


def _summarise(outcomes: Sequence[CaseOutcome], output: Path) -> None:
    from medkit.inference.result import NOTHING_LABELLED

    number = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    click.echo(f"{number['done']} done, {number['skipped']} finished before, {number['failed']} failed")
    if empty := sum(NOTHING_LABELLED in outcome.record.get("notes", ()) for outcome in outcomes):
        click.echo(f"empty       {empty} of them: no voxel was labelled")
    kinds = {kind for outcome in outcomes for kind, file in outcome.record.get("outputs", {}).items() if file}
    show_notes(outcomes)
    if "labels" in kinds:
        click.echo(f"label maps  {output / 'labels'}")
    if "picture" in kinds:
        click.echo(f"pictures    {output / 'pictures'}")
    click.echo(f"volumes     {output / 'volumes.csv'}")
    if "uncertainty" in kinds:
        click.echo(f"uncertainty {output / 'uncertainty.csv'}")
    if "features" in kinds:
        click.echo(f"features    {output / 'features'}")
    click.echo(f"report      {output / 'report.json'}")
    if number["failed"] == len(outcomes):
        raise click.exceptions.Exit(ExitCode.NONE_SUCCEEDED)
    if number["failed"]:
        raise click.exceptions.Exit(ExitCode.SOME_FAILED)
