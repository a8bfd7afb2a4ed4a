"""``medkit serve``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medkit.errors import ExitCode

if TYPE_CHECKING:
    from medkit.batch.service.settings import Settings


@click.command("serve")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--shadow", is_flag=True, help="Make all results and send none, whatever CONFIG says.")
@click.option(
    "--check", is_flag=True, help="Only check CONFIG, its rules, and that bundles and folders are there."
)
@click.option(
    "--logs", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How lines of the log look, which go to standard error.",
)  # fmt: skip
def command(config: Path, shadow: bool, check: bool, form: str) -> None:
    """Take studies, make results and send them, as the YAML file CONFIG says (see docs/batch.md), until told to stop.

    SIGTERM or Ctrl-C ends it in good order; a second one at once. Whatever ends it, the next call goes on.

    Exit code 0: it was told to stop; 2: CONFIG is wrong, or a bundle, a port or the folder cannot be used; 4: the
    ledger cannot be read.
    """
    from medkit.batch.logs import LogSettings, set_up_logs
    from medkit.batch.service.settings import read_settings
    from medkit.batch.service.supervisor import Supervisor
    from medkit.cli.signals import signals_call

    settings = read_settings(config)
    if shadow:
        settings = replace(settings, shadow=True)
    if check:
        _check(config, settings)
        return
    logs = LogSettings(form)
    set_up_logs(logs, "service")
    supervisor = Supervisor(settings, logs)
    try:
        with signals_call(supervisor.stop):
            supervisor.serve()
    finally:
        supervisor.close()


def _check(config: Path, settings: Settings) -> None:
    """Say what is wrong with settings that were read, and end with 2; else which bundles will run."""
    from medkit.batch.making import known_bundles
    from medkit.batch.service.parts import missing_folders
    from medkit.dicom.findings import counted

    bundles, faults = known_bundles(settings.rules, settings.bundles)
    faults += missing_folders(settings)
    for fault in faults:
        click.echo(f"{config}: {fault}", err=True)
    if faults:
        raise click.exceptions.Exit(ExitCode.USAGE)
    makers = "a cluster" if settings.cluster else counted(settings.workers, "worker", "workers")
    click.echo(f"{config}: {counted(len(settings.rules), 'rule', 'rules')}, {makers}; nothing wrong")
    for bundle in bundles:
        click.echo(f"bundle {bundle.name}: version {bundle.version}, digest {bundle.digest}")
