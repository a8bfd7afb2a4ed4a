"""``medkit evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medkit.inference.evaluation import EvaluationSummary
    from medkit.inference.scoring import Failure

_SCORES = {"dice": ("Dice", 3), "surface_dice": ("surface Dice", 3), "hd95_mm": ("HD95 mm", 2)}
_SHOWN = 20  # lines of one kind
_NAMED = 3  # cases of one line
_PATH = click.Path(path_type=Path)


@click.command("evaluate")
@click.argument("predictions", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--output", "-o", required=True, type=_PATH, help="Folder for the results.")
@click.option("--against", type=_PATH, help="Label maps of another method, to compare with.")
@click.option("--images", type=_PATH, help="Images to draw the worst cases over.")
@click.option("--names", type=_PATH, help="JSON file of label names; only these are scored.")
@click.option("--groups", type=_PATH, help="CSV file (case,group) of cases that are not independent.")
@click.option("--worst", type=click.IntRange(min=0), help="How many of the worst cases to draw.")
@click.option(
    "--predicted-only", is_flag=True, help="Leave out references without a prediction; else they have failed."
)
@click.option(
    "--tolerance",
    "surface_tolerance_mm",
    type=click.FloatRange(min=0),
    metavar="MM",
    help="Of the surface Dice.",
)
def command(predictions: Path, truth: Path, output: Path, **options: Any) -> None:
    """Score label maps in PREDICTIONS (as `medkit predict` writes them) against those in TRUTH.

    Cases are matched by name. OUTPUT receives scores.csv, summary.json, pictures of the worst cases and, with
    --against, paired.csv.
    """
    if options["groups"] and not options["against"]:
        raise UsageError(
            "--groups: expected --against as well, for only paired intervals are over groups, got none; add "
            "--against, or drop --groups"
        )
    notes = Console(stderr=True)
    with notes.status("starting"):
        from medkit.inference.evaluation import evaluate
    given = {name: value for name, value in options.items() if value is not None}
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=notes, transient=True) as progress:
        task = progress.add_task("scoring", total=None)
        summary = evaluate(
            predictions,
            truth,
            output,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            **given,
        )
    _print_remarks(summary)
    _print_tables(Console(), summary)
    click.echo(f"scores   {output / 'scores.csv'}")
    click.echo(f"summary  {output / 'summary.json'}")
    raise click.exceptions.Exit(summary.exit_code)


def _print_remarks(summary: EvaluationSummary) -> None:
    _print_failures(summary)
    if left_out := summary.without_prediction:
        click.echo(f"left out {_counted(left_out, 'reference', ' without a prediction')}", err=True)
    for name in summary.without_truth[:_SHOWN]:
        click.echo(f"left out {name}: no reference of this name", err=True)
    if (more := len(summary.without_truth) - _SHOWN) > 0:
        click.echo(f"left out {more} more without a reference; see the summary", err=True)
    for label, count in summary.unnamed.items():
        click.echo(f"left out label {label}: has no name (in {_number(count, 'comparison')})", err=True)
    if summary.size_unknown:
        number = len(summary.size_unknown)
        click.echo(
            f"left out of all but the Dice: {_number(number, 'case')} whose voxel size is unknown", err=True
        )
    for case in summary.worst:
        if case.reason:
            click.echo(f"drawn on black {case.case}: {case.reason}", err=True)


def _print_failures(summary: EvaluationSummary) -> None:
    """A line each, but one for all references that a source has no prediction for."""
    missing: dict[str, list[Failure]] = {}
    others = []
    for failure in summary.failures:
        if failure.code == "prediction-missing":
            missing.setdefault(failure.source, []).append(failure)
        else:
            others.append(failure)
    for source, failures in missing.items():
        if len(failures) == 1:
            others.append(failures[0])
            continue
        counted = _counted([failure.case for failure in failures], "reference", " without a prediction")
        remedy = (
            "predict them, or leave them out with --predicted-only" if source == "predictions" else "add them"
        )
        click.echo(f"failed ({source}) {counted}; {remedy}", err=True)
    for failure in others[:_SHOWN]:
        click.echo(f"failed ({failure.source}) {failure.reason}", err=True)
    if (more := len(others) - _SHOWN) > 0:
        click.echo(f"failed {more} more; see the summary", err=True)


def _counted(names: Sequence[str], what: str, which: str) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{_number(len(names), what)}{which}: {shown}{', ...' if len(names) > _NAMED else ''}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _print_tables(console: Console, summary: EvaluationSummary) -> None:
    failed, left_out = len({failure.case for failure in summary.failures}), len(summary.without_prediction)
    title = f"{_number(len(summary.scores), 'case')} scored, {failed} failed"
    title += f", {left_out} left out" if left_out else ""
    console.print(_scores_table(summary, "predictions", title))
    if any(label.paired for label in summary.labels):
        console.print(_scores_table(summary, "against", "the others"))
        console.print(_paired_table(summary))


def _scores_table(summary: EvaluationSummary, source: str, title: str) -> Table:
    table = _table(title, "label", "score", "n", "mean", "sd", "median", "worst", "in")
    for label in summary.labels:
        statistics = getattr(label, source)
        for metric, (name, digits) in _SCORES.items():
            found = statistics[metric]
            values = (found.mean, found.sd, found.median, found.worst)
            number = f"{found.n} ({found.n_infinite} inf)" if found.n_infinite else str(found.n)
            cells = [f"{value:.{digits}f}" for value in values]
            table.add_row(escape(label.name), name, number, *cells, escape(found.worst_case or ""))
    return table


def _paired_table(summary: EvaluationSummary) -> Table:
    table = _table("predictions minus the others", "label", "score", "n", "mean", "bootstrap interval")
    for label in summary.labels:
        for metric, (name, digits) in _SCORES.items():
            pair = label.paired[metric]
            mean, low, high = (f"{value:+.{digits}f}" for value in pair.interval)
            table.add_row(escape(label.name), name, str(pair.n), mean, f"{low} to {high}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", box=None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in ("label", "in"))
    return table
