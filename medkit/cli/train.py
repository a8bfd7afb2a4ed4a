"""``medkit train``."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from medkit.bundle.overrides import parse_overrides
from medkit.errors import ExitCode, MedkitError, UsageError

if TYPE_CHECKING:
    from medkit.training.callbacks.progress import EpochReport
    from medkit.training.run import TrainingRun


@click.command("train")
@click.argument("bundle")
@click.option(
    "--fold", type=int, help="Hold out this fold and score it; by default every case is trained on."
)
@click.option("--cross-validate", is_flag=True, help="Train every fold, then the network on all cases.")
@click.option(
    "--config",
    metavar="NAME",
    help="Another training config of the bundle, such as fine_tuning; train by default.",
)
@click.option("--name", help="Name of the run; the time by default.")
@click.option("--resume", metavar="NAME", help="Go on with a run from its last epoch.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--accept-licence", is_flag=True, help="Accept terms that forbid commercial use.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config key.")
def command(
    bundle: str,
    fold: int | None,
    cross_validate: bool,
    config: str | None,
    name: str | None,
    resume: str | None,
    runs: Path,
    accept_licence: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train the network of BUNDLE; weights, scores and record go to RUNS/BUNDLE/NAME."""
    from medkit.bundle.store import find_bundle
    from medkit.bundle.versions import require_training_packages

    require_training_packages()
    from medkit.training.run import SHIPPED, create_run, open_run

    if cross_validate and fold is not None:
        raise UsageError("--cross-validate trains every fold: drop --fold, or --cross-validate to train one")
    if resume is not None:
        if overrides or config or name or cross_validate or fold is not None:
            raise UsageError(
                "--resume goes on with a run as it was begun: drop --set, --config, --name, --fold, --cross-validate"
            )
        run = open_run(runs / find_bundle(bundle).name / resume)
    else:
        run = create_run(
            bundle,
            runs,
            overrides=parse_overrides(overrides),
            name=name,
            held_out=[fold],
            cross_validate=cross_validate,
            accept_licence=accept_licence,
            training=config or SHIPPED,
        )
    _quieten_libraries()
    uri = run.tracking_uri
    click.echo(f"run       {run.folder}")
    click.echo(f"tracking  {uri}")
    is_file = uri.startswith("sqlite:")
    click.echo(f"look at   {f'mlflow ui --backend-store-uri {uri}' if is_file else uri}")
    _train(run, again=f"medkit train {bundle} --resume {run.folder.name} --runs {runs}")
    click.echo(f"finished  {run.folder}")


def _train(run: TrainingRun, again: str) -> None:
    """Train; what stops it becomes one line and an exit code, its traceback a file."""
    from medkit.bundle.instance import one_line, root_cause
    from medkit.data.writing import write_text
    from medkit.training.run import fold_name

    try:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as bar:
            run.train(lambda held_out: click.echo(f"training  {fold_name(held_out)}"), _Shown(bar))
    except (SystemExit, KeyboardInterrupt) as stop:
        # Lightning answers Ctrl-C with exit(1).
        click.echo(f"medkit: interrupted; go on with: {again}", err=True)
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from stop
    except MedkitError:
        raise
    except Exception as error:
        log, cause = run.folder / "error.txt", root_cause(error)
        write_text(log, "".join(traceback.format_exception(error)))
        click.echo(
            f"medkit: training failed ({type(cause).__name__}: {one_line(cause)}); the traceback is in {log}. "
            f"Mend the cause and go on with: {again}; other settings need another run",
            err=True,
        )
        raise click.exceptions.Exit(ExitCode.NONE_SUCCEEDED) from error


class _Shown:
    """A line an epoch, which a log file gets at once, and on a terminal a bar over its steps, or over cases scored."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=None)

    def step(self, epoch: int, epochs: int, done: int, steps: int) -> None:
        self._bar.update(self._task, description=f"epoch {epoch}/{epochs}", completed=done, total=steps)

    def epoch(self, report: EpochReport) -> None:
        dice = "" if report.dice is None else f", Dice {report.dice:.3f}"
        end = datetime.now() + timedelta(seconds=report.remaining_s)
        when = f", ends about {end:%Y-%m-%d %H:%M}" if report.number < report.epochs else ""
        numbers = f"loss {report.loss:.4f}{dice}, {report.seconds:.1f} s{when}"
        click.echo(f"epoch     {report.number}/{report.epochs}: {numbers}")

    def scoring(self, done: int, cases: int) -> None:
        if not done and cases:
            click.echo(f"scoring   {cases} held-out cases")
        self._bar.update(self._task, description="scoring", completed=done, total=cases)

    def scores(self, dice: dict[str, float]) -> None:
        click.echo(f"Dice      {', '.join(f'{name} {value:.3f}' for name, value in dice.items())}")


def _quieten_libraries() -> None:
    """Keep what Lightning and MLflow remark on, and advertise, out of the way; what concerns the run stays."""
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in ("pytorch_lightning.utilities.rank_zero", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
