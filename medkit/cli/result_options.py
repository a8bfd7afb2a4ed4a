"""The options that say which series are read and which objects are written, the same for all commands that have them."""

from __future__ import annotations

import click

from medkit.dicom.findings import Repair

__all__ = ["KINDS", "REPAIRS", "kind_option", "repair_option", "sheared_option"]

KINDS = ("seg", "sr", "sc")
"""Spelled out, as in ``ResultKind``: the help needs no DICOM library."""

REPAIRS = "\b\nRepairs, none of which is done unasked:\n" + "\n".join(
    f"  {repair.value:16} {repair.meaning}" for repair in Repair
)
"""What stands below the help of a command with :data:`repair_option`."""

repair_option = click.option(
    "--repair", "repairs", multiple=True, type=click.Choice([repair.value for repair in Repair]), metavar="NAME",
    help="Repair what would be refused; see below. May be given several times.",
)  # fmt: skip
kind_option = click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS),
    help="Of the objects these alone; may be repeated. A report (sr) brings its segmentation (seg).",
)  # fmt: skip
sheared_option = click.option(
    "--allow-sheared", is_flag=True, help="Write about slices of a tilted gantry too."
)
