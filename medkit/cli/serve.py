"""``medkit serve``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medkit.batch.service.checks import Checked
    from medkit.batch.service.settings import Settings


@click.command("serve")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--shadow", is_flag=True, help="Make all results and send none, whatever CONFIG says.")
@click.option(
    "--check",
    is_flag=True,
    help="Only check CONFIG, its rules, and that what they name is there and can be used.",
)
@click.option(
    "--archives", is_flag=True, help="With --check: ask each archive that CONFIG names whether it answers."
)
@click.option(
    "--logs", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How lines of the log look, which go to standard error.",
)  # fmt: skip
def command(config: Path, shadow: bool, check: bool, archives: bool, form: str) -> None:
    """Take studies, make results and send them, as the YAML file CONFIG says (see docs/batch.md), until told to stop.

    SIGTERM or Ctrl-C ends it in good order; a second one at once. Whatever ends it, the next call goes on.

    Exit code 0: it was told to stop, or nothing is wrong; 2: CONFIG is wrong, or a bundle, a port or the folder cannot
    be used; 3: an archive does not answer --archives; 4: the ledger cannot be read, the audit log not be gone on with,
    or a device or a bundle that is looked at before does not answer for ten minutes.
    """
    from medkit.batch.audit import AuditLog
    from medkit.batch.logs import LogSettings, set_up_logs
    from medkit.batch.service.checks import check_settings
    from medkit.batch.service.settings import read_settings
    from medkit.batch.service.supervisor import Supervisor
    from medkit.batch.yaml_faults import raise_faults
    from medkit.cli.signals import signals_call

    if archives and not check:
        raise UsageError(
            "--archives: expected --check beside it, got none; a service asks archives by itself"
        )
    settings = read_settings(config)
    if shadow:
        settings = replace(settings, shadow=True)
    seen = check_settings(config, settings, load=check)
    raise_faults(seen.faults)
    if check:
        if settings.job.audit.is_dir():
            AuditLog(settings.job.audit, "check").end()
        silent = _ask_archives(settings) if archives else 0
        _tell(config, settings, seen, silent)
        raise click.exceptions.Exit(ExitCode.SOME_FAILED if silent else ExitCode.DONE)
    logs = LogSettings(form)
    set_up_logs(logs, "service")
    seen.log_doubts()
    supervisor = Supervisor(settings, logs)
    try:
        with signals_call(supervisor.stop):
            supervisor.serve()
    finally:
        supervisor.close()


def _tell(config: Path, settings: Settings, seen: Checked, silent: int) -> None:
    """Say what may be wrong with settings, how many archives do not answer, and which bundles will run."""
    from medkit.dicom.findings import counted

    makers = "a cluster" if settings.cluster else counted(settings.workers, "worker", "workers")
    for doubt in seen.doubts:
        click.echo(f"warning: {doubt}", err=True)
    found = [counted(len(seen.doubts), "warning", "warnings")] if seen.doubts else []
    found += [counted(silent, "archive does not answer", "archives do not answer")] if silent else []
    result = ", ".join(found) or "nothing wrong"
    click.echo(f"{config}: {counted(len(settings.rules), 'rule', 'rules')}, {makers}; {result}")
    for bundle in seen.bundles:
        click.echo(f"bundle {bundle.name}: version {bundle.version}, digest {bundle.digest}")


def _ask_archives(settings: Settings) -> int:
    """Say which archives answer; how many do not."""
    from medkit.batch.service.checks import ask_archives

    silent = 0
    for name, trouble in ask_archives(settings):
        click.echo(f"archive {name}: {trouble or 'answers'}", err=trouble is not None)
        silent += trouble is not None
    return silent
