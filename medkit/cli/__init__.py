"""The command line: parses, prints, draws progress; the only place that prints.

What belongs here: one file a command. What does not: anything that Python users would want as well.
Commands are imported when called, so that ``medkit --help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from typing import Any

import click

from medkit import __version__
from medkit.errors import ExitCode, MedkitError, UsageError

__all__ = ["main"]

_COMMANDS = {
    "batch": "Run studies of folders in a batch, and watch over batches: status, history, retry, verify.",
    "bundle": "Build, list and check bundles; adopt trained weights.",
    "dicom": "Read DICOM series: verdicts, and NIfTI files; write results as DICOM objects; de-identify.",
    "evaluate": "Score predictions against manual label maps.",
    "predict": "Segment images with a bundle.",
    "serve": "Take studies from nodes, folders and archives, and send results back, for months.",
    "train": "Train a bundle's network; resume a killed training.",
}


class _LazyGroup(click.Group):
    """A group whose commands live in modules of their own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"medkit.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            from medkit.cli.consoles import end_without_reader, reader_has_gone

            if reader_has_gone():
                end_without_reader()
            # As itself, click would end with it in silence.
            raise MedkitError(f"a pipe to another program: {error.strerror or error}") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Medical-image segmentation with MONAI bundles.

    Exit codes: 0 all done, 2 wrong call or config, 3 some cases failed, 4 none succeeded, 130 interrupted, 141 who read
    the output has gone.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can mend become one line and an exit code."""
    _pass_over_missing_decoder()
    try:
        code = cli.main(arguments, prog_name="medkit", standalone_mode=False)
    except click.UsageError as error:
        click.echo(_explained(error), err=True)
        code = ExitCode.USAGE
    except UsageError as error:
        for line in str(error).splitlines():  # one fault each
            click.echo(f"medkit: {line}", err=True)
        code = ExitCode.USAGE
    except MedkitError as error:
        click.echo(f"medkit: {error}", err=True)
        code = ExitCode.NONE_SUCCEEDED
    except OSError as error:
        click.echo(f"medkit: {error.filename or 'output'}: {error.strerror or error}", err=True)
        code = ExitCode.NONE_SUCCEEDED
    except (click.Abort, KeyboardInterrupt):
        click.echo("medkit: interrupted; every file written so far is whole", err=True)
        code = ExitCode.INTERRUPTED
    sys.exit(int(code or 0))


def _pass_over_missing_decoder() -> None:
    """Where there is pydicom, MONAI looks for one more decoder whenever an image is to be read, and misses it aloud."""
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


def _explained(error: click.UsageError) -> str:
    if error.message.startswith("Usage:"):  # a group called without a command: its help
        return error.message
    called = error.ctx.command_path if error.ctx else "medkit"
    return f"medkit: {error.format_message()} See '{called} --help'."
