"""``medkit evaluate``: what it prints and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from medkit.cli.evaluate import command
from medkit.errors import UsageError
from tests.inference.label_maps import labels, write


@pytest.fixture
def folders(tmp_path):
    truth = write(tmp_path / "truth", a=labels(), b=labels())
    predictions = write(tmp_path / "predictions", a=labels(), b=labels(1))
    return predictions, truth, tmp_path / "output"


def run(predictions, truth, output, *options):
    arguments = [str(predictions), str(truth), "--output", str(output), *map(str, options)]
    return CliRunner().invoke(command, arguments)


def test_all_cases_scored(folders):
    result = run(*folders)
    assert result.exit_code == 0
    assert "2 cases scored, 0 failed" in result.stdout
    assert "front" in result.stdout
    assert f"scores   {folders[2] / 'scores.csv'}" in result.stdout
    assert result.stderr.strip() == ""


def test_names_that_are_no_utf_8_are_written_as_escapes(folders):
    for folder in folders[:2]:
        (folder / "a.nii.gz").rename(folder / os.fsdecode(b"scan\xff.nii.gz"))
    assert run(*folders, "--against", folders[0]).exit_code == 0
    for name in ("scores.csv", "paired.csv", "summary.json"):
        assert "scan\\udcff" in (folders[2] / name).read_text(encoding="utf-8")


def test_every_option_arrives(folders, tmp_path):
    names, groups = tmp_path / "names.json", tmp_path / "groups.csv"
    names.write_text('{"1": "[red]mine"}')
    groups.write_text("case,group\na,1\nb,2\n")
    options = ["--against", folders[0], "--images", folders[1], "--names", names, "--groups", groups]
    result = run(*folders, *options, "--worst", 1, "--tolerance", 0.5)
    assert result.exit_code == 0
    assert "[red]mine" in result.stdout
    assert "predictions minus the others" in result.stdout
    assert "+0.000 to +0.000" in result.stdout
    assert "left out label 2" in result.stderr
    assert len(list((folders[2] / "worst").iterdir())) == 1
    assert '"surface_tolerance_mm": 0.5' in (folders[2] / "summary.json").read_text()


def test_some_cases_failed(folders):
    (folders[0] / "b.nii.gz").unlink()
    result = run(*folders)
    assert result.exit_code == 3
    assert "1 case scored, 1 failed" in result.stdout
    assert "failed (predictions) b: expected a prediction of this name" in result.stderr


def test_references_without_a_prediction_are_told_in_one_line(folders):
    predictions, truth, _ = folders
    write(truth, **{f"more{number:02}": labels() for number in range(30)})
    (predictions / "b.nii.gz").write_bytes(b"torn")
    result = run(*folders)
    assert result.exit_code == 3
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines[0] == (
        "failed (predictions) 30 references without a prediction: more00, more01, more02, ...; predict them, or leave "
        "them out with --predicted-only"
    )
    assert len(lines) == 2
    assert "b.nii.gz: expected a whole image file" in lines[1]
    result = run(*folders, "--predicted-only")
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines[1] == "left out 30 references without a prediction: more00, more01, more02, ..."
    assert "1 case scored, 1 failed, 30 left out" in result.stdout


def test_none_succeeded(folders):
    for path in folders[0].iterdir():
        path.write_bytes(b"torn")
    assert run(*folders).exit_code == 4


def test_a_wrong_call_is_left_to_main(folders):
    result = run(folders[0] / "nowhere", *folders[1:])
    assert isinstance(result.exception, UsageError)


def test_groups_without_anything_to_compare_with(folders, tmp_path):
    (tmp_path / "groups.csv").write_text("case,group\na,1\nb,2\n")
    result = run(*folders, "--groups", tmp_path / "groups.csv")
    assert isinstance(result.exception, UsageError)
    assert "add --against, or drop --groups" in str(result.exception)
    assert not folders[2].exists()


@pytest.mark.parametrize("option", [("--worst", -1), ("--tolerance", -1)])
def test_options_out_of_range(folders, option):
    assert run(*folders, *option).exit_code == 2


def test_nothing_heavy_is_imported_for_the_help():
    code = (
        "import sys, medkit.cli.evaluate;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'monai', 'matplotlib', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
