"""The command line of a benchmark: its own docstring for help, and where its table goes."""

import argparse
from pathlib import Path


def command_line(description: str | None, script: str | None = None) -> argparse.ArgumentParser:
    """A parser for what the script has more.

    Args:
        description: docstring of the script.
        script: its file; ``--output`` is then the table beside it by default. Left out, there is no such option.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if script is not None:
        parser.add_argument("--output", type=Path, default=Path(script).with_suffix(".md"))
    return parser
