"""``medkit dicom``."""

from __future__ import annotations

import json
import secrets
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medkit.cli.dicom_verdicts import exit_code, print_verdicts
from medkit.cli.result_options import KINDS, REPAIRS, kind_option, repair_option, sheared_option
from medkit.dicom.result import OTHER_KINDS
from medkit.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from medkit.dicom.findings import Finding

_PATH = click.Path(path_type=Path)
_TYPES = ("BINARY", "LABELMAP", "FRACTIONAL")  # spelled out, as in `KINDS`


def _asking(function: Callable[..., None]) -> Callable[..., None]:
    """The options of all commands that read."""
    pick = click.option(
        "--pick", "picks", multiple=True, metavar="KEY=VALUE",
        help="Read this alone: series=NUMBER, volume=NAME, or a key that tells volumes apart. Several may be given.",
    )  # fmt: skip
    return repair_option(pick(function))


_verbose = click.option(
    "--verbose", is_flag=True, help="Name each file that is no DICOM, not the first alone."
)


@click.group("dicom")
def command() -> None:
    """Read DICOM series: verdicts, and NIfTI files; write results as DICOM objects; de-identify."""
    # Remarks on what the reader checks itself. Not in the reader: filters are those of all threads of a program.
    warnings.filterwarnings("ignore", module=r"pydicom\b")


@command.command("inspect", epilog=REPAIRS, short_help="Print a verdict on each series.")
@click.argument("source", type=_PATH)
@_asking
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts for machines.")
@_verbose
def inspect_command(
    source: Path, repairs: tuple[str, ...], picks: tuple[str, ...], as_json: bool, verbose: bool
) -> None:
    """Read the series in SOURCE (a folder, a zip or a file) and print a verdict on each.

    Nothing is written. Exit code 0: all series are read; 3: some are refused; 4: all are.
    """
    from medkit.dicom import inspect

    record = inspect(source, repairs=repairs, picks=_parsed(picks))
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        print_verdicts(record, verbose=verbose)
    raise click.exceptions.Exit(exit_code(record))


@command.command("convert", epilog=REPAIRS, short_help="Write each volume as NIfTI.")
@click.argument("source", type=_PATH)
@click.option("--output", "-o", required=True, type=_PATH, help="Empty folder for the results.")
@_asking
@_verbose
def convert_command(
    source: Path, output: Path, repairs: tuple[str, ...], picks: tuple[str, ...], verbose: bool
) -> None:
    """Write each volume of the series in SOURCE (a folder, a zip or a file) as NIfTI.

    OUTPUT receives NAME.nii.gz for each volume, NAME_padding.nii.gz where the file says that some of its voxels are no
    measurement, and, last, verdicts.json. Exit code 0: all series are read; 3: some are refused; 4: all are.
    """
    from medkit.dicom import convert

    conversion = convert(source, output, repairs=repairs, picks=_parsed(picks))
    print_verdicts(conversion.verdicts, verbose=verbose)
    for path in conversion.files.values():
        click.echo(f"volume    {path}")
    click.echo(f"verdicts  {output / 'verdicts.json'}")
    raise click.exceptions.Exit(exit_code(conversion.verdicts))


@command.command("write", epilog=REPAIRS, short_help="Write labels as DICOM objects.")
@click.argument("labels", type=_PATH)
@click.argument("source", type=_PATH)
@click.option("--bundle", required=True, help="Name or folder of the bundle that made the labels.")
@click.option("--output", "-o", required=True, type=_PATH, help="Folder for the files.")
@kind_option
@click.option("--type", "segmentation_type", default=_TYPES[0], type=click.Choice(_TYPES),
    help="Of seg. FRACTIONAL goes with --kind seg --kind sr, since sc is drawn of a label map.",
)  # fmt: skip
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="Remark for the report.")
@sheared_option
@_asking
def write_command(
    labels: Path,
    source: Path,
    bundle: str,
    output: Path,
    kinds: tuple[str, ...],
    segmentation_type: str,
    notes: tuple[str, ...],
    allow_sheared: bool,
    repairs: tuple[str, ...],
    picks: tuple[str, ...],
) -> None:
    """Write LABELS as DICOM objects of the study of SOURCE (a folder, a zip or a file).

    LABELS is a label map (for FRACTIONAL, class probabilities) on the grid of a series in SOURCE; where another cannot
    be read, or has the same grid, --pick says which one. OUTPUT receives a segmentation (seg), a report of volumes
    (sr), a picture (sc) and, last, a record of what was written, all named by the volume (003.seg.dcm). Other results
    that lie there are never replaced: take a folder for each study and result.

    Exit code 0: all is written; 2: a wrong call; 4: labels or series cannot be read, or do not fit each other.
    """
    from medkit.dicom.writing.results import ResultKind
    from medkit.dicom.writing.segmentation import SegmentationType
    from medkit.inference.dicom_results import DicomOptions, write_dicom

    options = DicomOptions(
        kinds=tuple(ResultKind(kind) for kind in kinds or KINDS),
        segmentation_type=SegmentationType(segmentation_type),
        notes=notes,
        allow_sheared=allow_sheared,
        repairs=repairs,
        picks=_parsed(picks),
    )
    written = write_dicom(
        labels, source, bundle, output, options, on_note=lambda note: click.echo(f"note: {note}", err=True)
    )
    for kind, path in written.items():
        click.echo(f"{kind.value:8}  {path}")


@command.command("deidentify", short_help="Write objects without their patients.")
@click.argument("source", type=_PATH)
@click.option("--output", "-o", required=True, type=_PATH, help="Empty folder for the files.")
@click.option(
    "--shift-dates", is_flag=True, help="Keep dates of images, a patient's all moved by one number of days."
)
@click.option("--keep-diffusion", is_flag=True, help="Keep private b-values and directions.")
def deidentify_command(source: Path, output: Path, shift_dates: bool, keep_diffusion: bool) -> None:
    """Write the DICOM objects in SOURCE (a folder, a zip or a file) anew, by the standard's basic profile.

    OUTPUT receives PSEUDONYM/STUDY/SERIES/INSTANCE.dcm for each and, last, deidentification.json. Reports, and images
    that may have words in their pixels, are left out, with the reason; faces stay. The environment variable
    MEDKIT_DEIDENTIFICATION_KEY, 16 bytes or more, gives the same pseudonyms in every call with the same key;
    without it they hold for one call.

    Exit code 0: all objects are written; 2: a wrong call; 3: some are left out; 4: all are.
    """
    from medkit.dicom.confidentiality import Deidentifier
    from medkit.dicom.deidentification import RECORD, deidentify

    kept = {"shift_dates": shift_dates, "keep_diffusion": keep_diffusion}
    done = deidentify(
        source, output, Deidentifier.of_known_key(**kept) or Deidentifier(secrets.token_bytes(32), **kept)
    )
    for line in _refusal_lines(done.refusals):
        click.echo(line, err=True)
    missed = sum(refusal.code not in OTHER_KINDS for refusal in done.refusals)
    click.echo(f"{done.written} objects written, {missed} left out")
    click.echo(f"record    {output / RECORD}")
    failed = ExitCode.SOME_FAILED if missed else ExitCode.DONE
    raise click.exceptions.Exit(failed if done.written else ExitCode.NONE_SUCCEEDED)


def _refusal_lines(refusals: Iterable[Finding]) -> Iterator[str]:
    """What was left out, files of one folder that have the same fault in one line."""
    from medkit.dicom.findings import counted

    alike: dict[tuple[str, Path, str], list[str]] = {}
    for refusal in refusals:
        where, expected, fault = refusal.message.partition(": expected ")
        place = Path(where).parent if expected else Path(where)
        alike.setdefault((refusal.code, place, fault), []).append(refusal.message)
    for (code, _, _), messages in alike.items():
        more = (
            f" ({counted(len(messages) - 1, 'more file', 'more files')} there so)"
            if len(messages) > 1
            else ""
        )
        yield f"left out {code}: {messages[0]}{more}"


def _parsed(picks: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pick in picks:
        key, equals, value = pick.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"--pick {pick}: expected KEY=VALUE, got {pick!r}")
        if key in found:
            raise UsageError(
                f"--pick {pick}: expected each key once, got {key}={found[key]} too; leave one out, or call for each"
            )
        found[key] = value
    return found
