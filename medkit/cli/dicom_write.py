"""``medkit dicom write``."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)
# Spelled out, as in `ResultKind` and `SegmentationType`: the help needs no DICOM library.
_KINDS = ("seg", "sr", "sc")
_TYPES = ("BINARY", "LABELMAP", "FRACTIONAL")


@click.command("write")
@click.argument("labels", type=_PATH)
@click.argument("source", type=_PATH)
@click.option("--bundle", required=True, help="Name or folder of the bundle that made the labels.")
@click.option("--output", "-o", required=True, type=_PATH, help="Folder for the files.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only this; may be repeated.")
@click.option(
    "--type", "segmentation_type", default=_TYPES[0], type=click.Choice(_TYPES), help="Of the segmentation."
)
@click.option("--volume", metavar="NAME", help="Which volume of SOURCE, where several fit the labels.")
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="Remark for the report.")
@click.option("--allow-sheared", is_flag=True, help="Write about slices of a tilted gantry too.")
def write_command(
    labels: Path,
    source: Path,
    bundle: str,
    output: Path,
    kinds: tuple[str, ...],
    segmentation_type: str,
    volume: str | None,
    notes: tuple[str, ...],
    allow_sheared: bool,
) -> None:
    """Write LABELS as DICOM objects of the study of SOURCE.

    LABELS is a label map (FRACTIONAL: class probabilities) on the grid of a series in SOURCE, a folder, zip or file.
    OUTPUT receives a segmentation (seg), a report of volumes (sr), a picture (sc), and a record of what was written.
    """
    from medkit.dicom.writing.results import ResultKind
    from medkit.dicom.writing.segmentation import SegmentationType
    from medkit.inference.dicom_results import DicomOptions, write_dicom

    options = DicomOptions(
        kinds=tuple(ResultKind(kind) for kind in kinds or _KINDS),
        segmentation_type=SegmentationType(segmentation_type),
        volume=volume,
        notes=notes,
        allow_sheared=allow_sheared,
    )
    for kind, path in write_dicom(labels, source, bundle, output, options).items():
        click.echo(f"{kind.value:4} {path}")
