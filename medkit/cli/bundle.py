"""``medkit bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medkit.bundle.store import BundleFolder


@click.group("bundle")
def command() -> None:
    """List, read about, build and check bundles; adopt trained weights."""


@command.command("list")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Show those too whose terms forbid commercial use.")
@click.option("--paths", is_flag=True, help="Show the folder of each in the place of what it does.")
def list_command(folder: Path | None, everything: bool, paths: bool) -> None:
    """List medkit's bundles, or those in FOLDER."""
    found = [bundle for bundle in _bundles_in(folder) if folder or everything or bundle.commercial_use]
    width = max((len(bundle.name) for bundle in found), default=0)
    for bundle in found:
        if paths:
            click.echo(f"{bundle.name:{width}}  {bundle.root}")
            continue
        task = bundle.metadata.get("task") or bundle.metadata.get("description", "")
        terms = "" if bundle.commercial_use else f"  (not for commercial use: {bundle.terms})"
        version = bundle.metadata.get("version", "?")
        click.echo(f"{bundle.name:{width}}  {version:8}  {task}{terms}{_waiting(bundle)}")


@command.command("card")
@click.argument("name")
def card_command(name: str) -> None:
    """Show the card of a bundle, by its NAME or folder: what it is for, data, figures, limits, terms."""
    from medkit.bundle.store import find_bundle

    card = find_bundle(name).root / "docs" / "README.md"
    if not card.is_file():
        raise UsageError(f"{card}: expected the bundle's card, got no file; ask who made the bundle")
    click.echo(card.read_text(encoding="utf-8", errors="replace"), nl=False)


def _waiting(bundle: BundleFolder) -> str:
    if (lacking := bundle.lacks_weights_of) is None:
        return ""
    return f"  (no weights yet{'' if lacking == bundle.name else f' of {lacking}, which it runs'})"


@command.command("build")
@click.argument("names", nargs=-1)
def build_command(names: tuple[str, ...]) -> None:
    """Compile configs/ into bundles/: all, or those NAMED."""
    from medkit.bundle.build import bundle_sources, write_bundle

    sources = {source.name: source for source in bundle_sources()}
    if unknown := set(names) - set(sources):
        raise UsageError(f"no source for {', '.join(sorted(unknown))}; there are: {', '.join(sources)}")
    for name in names or sources:
        changed = write_bundle(sources[name])
        click.echo(f"{name}: {len(changed)} files changed" if changed else f"{name}: up to date")


@command.command("check")
@click.argument("names", nargs=-1)
def check_command(names: tuple[str, ...]) -> None:
    """Check bundles: medkit's own, or those NAMED (names or folders)."""
    from medkit.bundle.check import check_bundle
    from medkit.bundle.store import find_bundle
    from medkit.bundle.versions import require_training_packages

    bundles, faulty = [find_bundle(name) for name in names] or _bundles_in(None), False
    if any(_trains_with_lightning(bundle) for bundle in bundles):
        require_training_packages()
    for bundle in bundles:
        for finding in check_bundle(bundle):
            mark = "ok  " if finding.problem is None else "BAD "
            click.echo(
                f"{mark}{bundle.name}  {finding.check}" + (f": {finding.problem}" if finding.problem else "")
            )
            faulty = faulty or finding.problem is not None
    if faulty:
        raise click.exceptions.Exit(ExitCode.USAGE)


@command.command("adopt")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Make a bundle of its own there, with the network and the settings of the run; medkit's stays as it is.",
)
@click.option("--other-data", is_flag=True, help="Adopt a run on other data than the bundle learned from.")
def adopt_command(run: Path, to: Path | None, other_data: bool) -> None:
    """Take the weights and figures of a training RUN (its folder) into its bundle."""
    from medkit.training.adopt import adopt

    for line in adopt(run, to, other_data=other_data):
        click.echo(line)


def _trains_with_lightning(bundle: BundleFolder) -> bool:
    configs = bundle.configs.glob("train.*")  # none in a bundle that runs the network of another
    return any("pytorch_lightning" in path.read_text(encoding="utf-8", errors="replace") for path in configs)


def _bundles_in(folder: Path | None) -> list[BundleFolder]:
    """The bundles in a folder, medkit's own by default; at least one."""
    from medkit.bundle.store import bundles_root, list_bundles

    found = list_bundles(folder)
    if not found:
        place = folder or bundles_root()
        got = "none" if place.is_dir() else "no such folder"
        raise UsageError(
            f"{place}: expected a folder that holds bundles (NAME/configs/metadata.json), got {got}; "
            + ("name the folder above them" if folder else "compile them with medkit bundle build")
        )
    return found
