"""``medkit batch replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medkit.batch.replay import Side
    from medkit.batch.replay_tables import ReplayTables

__all__ = ["replay_command"]

_PATH = click.Path(path_type=Path)
_DIGITS = 12  # of a study's hash
_SHOWN = 20  # refusals


@click.command("replay", short_help="Compare two bundles on the stored studies.")
@click.argument("folder", type=_PATH)
@click.option(
    "--bundle", required=True, metavar="BUNDLE", help="Name or folder of the bundle that is in use."
)
@click.option(
    "--against", required=True, metavar="BUNDLE", help="Name or folder of that which may take its place."
)
@click.option("--rules", required=True, type=_PATH, help="The rules file of the batch.")
@click.option("--rule", "rule_names", multiple=True, metavar="NAME",
    help="Replay this rule; else those of one of the two bundles. May be given several times.",
)  # fmt: skip
@click.option("--output", "-o", required=True, type=_PATH, help="Folder for the tables, empty or not there.")
@click.option("--study", "studies", multiple=True, metavar="STUDY",
    help="Replay this study; else all that are stored. May be given several times.",
)  # fmt: skip
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Replay the N newest studies.")
@click.option("--lowest-dice", type=click.FloatRange(0, 1), metavar="DICE",
    help="End with 3 where a structure of a volume agrees less.",
)  # fmt: skip
@click.option("--pictures", default=3, type=click.IntRange(min=0), show_default=True, metavar="N",
    help="Draw the N volumes that agree least.",
)  # fmt: skip
@click.option("--device", metavar="DEVICE", help="Such as cpu or cuda:1; the bundle's own choice by default.")
@click.option("--accept-licence", is_flag=True, help="Accept terms that forbid commercial use.")
def replay_command(
    folder: Path,
    bundle: str,
    against: str,
    rules: Path,
    rule_names: tuple[str, ...],
    output: Path,
    studies: tuple[str, ...],
    last: int | None,
    lowest_dice: float | None,
    pictures: int,
    device: str | None,
    accept_licence: bool,
) -> None:
    """Make the stored studies of the batch in FOLDER with two bundles, and write how the results differ.

    The batch may go on meanwhile: its ledger is only read, and nothing is sent. OUTPUT receives differences.csv,
    refusals.csv, summary.json and pictures, which show images of patients without their names.

    Exit code 0: both end alike with every study; 3: they do not, or agree less than --lowest-dice; 4: no study could be
    compared, or the ledger cannot be read; 2: a wrong call.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    notes = Console(stderr=True)
    with notes.status("starting"):
        from medkit.batch.folder import existing_job
        from medkit.batch.ledger import LedgerView
        from medkit.batch.making.reading import Wanted
        from medkit.batch.replay import complete_studies, open_side, replay_study, rules_of
        from medkit.batch.replay_tables import ReplayTables
        from medkit.batch.rules_file import read_rules
        from medkit.batch.spool import existing_spool
        from medkit.batch.status.studies import find_study
        from medkit.bundle.store import find_bundle
        from medkit.dicom.findings import counted

        job, all_rules = existing_job(folder), read_rules(rules)
        names = rules_of(all_rules, {find_bundle(one).name for one in (bundle, against)}, rule_names)
        replayed = [rule for rule in all_rules if rule.name in names]
        sides = (
            open_side(bundle, replayed, device, accept_licence=accept_licence),
            open_side(against, replayed, device, accept_licence=accept_licence),
        )
        spool, tables = existing_spool(job.spool), ReplayTables(output, sides, pictures)
        with LedgerView(job.ledger) as view:
            asked = [find_study(view, text) for text in studies]
            found = asked or complete_studies(view, spool)[:last]
            purged = [one for one in view.studies() if one.purged and (not asked or one.study in asked)]
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=notes, transient=True) as progress:
        try:
            for study in progress.track(found, description="studies"):
                tables.add(replay_study(study, spool, Wanted(all_rules), names, sides))
        finally:  # what was compared before an interruption is kept
            tables.write()
    _print(tables, sides)
    if purged:
        there = counted(len(purged), "study is", "studies are")
        click.echo(f"{there} not stored any more: the instances were purged")
    click.echo(f"tables and pictures  {output}")
    raise click.exceptions.Exit(tables.exit_code(lowest_dice))


def _print(tables: ReplayTables, sides: tuple[Side, Side]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from medkit.cli.consoles import table_console
    from medkit.dicom.findings import counted

    console = table_console()
    for word, side in zip(("bundle", "against"), sides, strict=True):
        console.print(f"{word:8} {escape(side.name)} {escape(side.version)}, digest {side.digest[:_DIGITS]}")
    if sides[0].digest == sides[1].digest:
        console.print("both are the same bundle in the same state")
    table = Table("structure", "volumes", "Dice", "lowest", "of study", "change ml", "change %", "largest %")
    for row in tables.agreement():
        table.add_row(
            escape(row.structure), str(row.volumes), f"{row.mean_dice:.3f}", f"{row.lowest_dice:.3f}",
            row.lowest_study[:_DIGITS], f"{row.mean_change_ml:+.2f}", f"{row.mean_change_percent:+.1f}",
            f"{row.largest_change_percent:+.1f}",
        )  # fmt: skip
    console.print(table)
    unlike = [refusal for refusal in tables.refusals if refusal.differs]
    if unlike:
        table = Table("study", "series", "bundle", "against")
        for refusal in unlike[:_SHOWN]:
            codes = (code or "a result" for code in refusal.codes)
            table.add_row(refusal.study[:_DIGITS], escape(refusal.series), *codes)
        console.print(table)
    alike = len(tables.refusals) - len(unlike)
    studies = counted(tables.studies, "study", "studies")
    volumes = counted(tables.compared, "volume", "volumes")
    console.print(
        f"{studies}: {volumes} compared, {len(unlike)} that one bundle alone refuses or both for other reasons, "
        f"{alike} refused alike, {tables.skipped} that no such rule wants"
    )
