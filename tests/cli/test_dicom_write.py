"""``medkit dicom write``: what it prints and how it ends."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from medkit.cli.dicom import command
from medkit.data.grid import Grid
from medkit.data.writing import write_labels, write_volume
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import UsageError
from tests.dicom.writing.oracles import read_back
from tests.dicom.writing.sources import geometry, write_series


@pytest.fixture
def given(tmp_path):
    array, affine = geometry()
    write_series(tmp_path / "series", array, affine)
    labels = np.random.default_rng(0).integers(0, 3, array.shape).astype(np.uint8)
    grid = Grid(array.shape, affine)
    write_labels(tmp_path / "a.nii.gz", labels, grid, {1: "front", 2: "back"})
    shares = np.stack([(labels == value) * 0.5 for value in range(3)], axis=-1).astype(np.float32)
    write_volume(tmp_path / "p.nii.gz", shares, grid)
    return tmp_path


def run(folder, labels="a.nii.gz", *options):
    call = [
        "write",
        str(folder / labels),
        str(folder / "series"),
        "--bundle",
        "hippocampus_segmentation_unet",
    ]
    return CliRunner().invoke(command, [*call, "--output", str(folder / "out"), *options])


def test_every_object_is_named(given):
    result = run(given)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{kind:8}  {given / 'out' / f'003.{kind}.dcm'}" for kind in ("seg", "sr", "sc")
    ]
    (note,) = result.stderr.splitlines()
    assert note.startswith("note: no record says how the labels were made")


def test_every_option_arrives(given):
    result = run(
        given, "p.nii.gz", "--kind", "seg", "--kind", "sr", "--type", "FRACTIONAL", "--note", "moved", "--pick",
        "series=3",
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    assert read_back(given / "out" / "003.seg.dcm").SegmentationType == "FRACTIONAL"
    assert "moved" in str(read_back(given / "out" / "003.sr.dcm"))
    assert not (given / "out" / "003.sc.dcm").exists()


@pytest.mark.parametrize("options", [["--kind", "pdf"], ["--type", "binary"], ["--bundle"]])
def test_wrong_options(given, options):
    assert run(given, "a.nii.gz", *options).exit_code == 2


def test_a_wrong_call_is_left_to_main(given):
    result = run(given, "a.nii.gz", "--pick", "series=9")
    assert isinstance(result.exception, UsageError)
    assert not (given / "out").exists()


def test_the_choices_are_those_that_there_are():
    options = {option.name: option for option in command.commands["write"].params}
    assert list(options["kinds"].type.choices) == [kind.value for kind in ResultKind]
    assert list(options["segmentation_type"].type.choices) == [kind.value for kind in SegmentationType]


def test_no_dicom_library_is_imported_for_the_help():
    code = (
        "import sys, medkit.cli.dicom;"
        "sys.exit(any(name in sys.modules for name in ('pydicom', 'highdicom', 'torch', 'monai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
