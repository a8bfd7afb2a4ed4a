"""The commands print, write, and end as all others do."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from medkit.cli import main
from medkit.dicom import Repair
from tests.dicom_series import make
from tests.dicom_series.stacks import Stack, save


@pytest.fixture
def folder(tmp_path):
    make("axial", tmp_path / "study" / "good")
    return tmp_path / "study"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["dicom", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_inspect_prints_a_table(folder, capsys):
    code, out, err = run(capsys, "inspect", folder)
    assert code == 0
    assert "14 x 12 x 9" in out
    assert "read" in out
    assert err == ""


def test_some_refused_and_all_refused(folder, capsys, tmp_path):
    make("gap-one", tmp_path / "study" / "bad")
    code, _, err = run(capsys, "inspect", folder)
    assert code == 3
    assert "gap: between" in err
    assert "1 slice is missing of 9" in err
    code, out, _ = run(capsys, "inspect", folder / "bad")
    assert code == 4
    assert "gap" in out
    assert run(capsys, "inspect", folder / "bad", "--repair", "split-gaps")[0] == 0


def test_remarks_of_a_library_are_not_shown(tmp_path):
    make("transfer-syntax-lies", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "medkit", "dicom", "inspect", str(tmp_path)], capture_output=True, text=True
    )
    assert "14 x 12 x 9" in done.stdout
    assert "Warning" not in done.stderr


def test_verdicts_for_machines(folder, capsys):
    code, out, _ = run(capsys, "inspect", folder, "--json")
    assert code == 0
    assert json.loads(out)["series"][0]["verdict"] == "read"


def test_convert_writes_and_says_where(folder, capsys, tmp_path):
    code, out, _ = run(capsys, "convert", folder, "--output", tmp_path / "out")
    assert code == 0
    assert str(tmp_path / "out" / "003.nii.gz") in out
    assert (tmp_path / "out" / "verdicts.json").is_file()
    code, _, err = run(capsys, "convert", folder, "--output", tmp_path / "out")
    assert code == 2
    assert "expected an empty folder" in err


def test_picks(tmp_path, capsys):
    rng = np.random.default_rng(0)
    early = Stack(rng, modality="MR")
    late = Stack(rng, early.grid, modality="MR", identity=early.identity, offset=300)
    for number, dataset in enumerate((*early.datasets, *late.datasets)):
        dataset.EchoTime = "11" if number < 9 else "80"
        save(tmp_path / f"{number}.dcm", dataset)
    code, out, _ = run(capsys, "inspect", tmp_path, "--pick", "echo-time=80", "--json")
    assert code == 0
    assert len(json.loads(out)["series"][0]["volumes"]) == 1
    code, _, err = run(capsys, "inspect", tmp_path, "--pick", "echo-time=7")
    assert code == 2
    assert "there are 11, 80" in err
    for wrong in ("echo-time", "=7", "echo-time="):
        code, _, err = run(capsys, "inspect", tmp_path, "--pick", wrong)
        assert code == 2
        assert "expected KEY=VALUE" in err
    code, _, err = run(capsys, "inspect", tmp_path, "--pick", "echo-time=11", "--pick", "echo-time=80")
    assert code == 2
    assert "expected each key once, got echo-time=11 too" in err


def test_a_wrong_call(tmp_path, capsys):
    assert run(capsys, "inspect", tmp_path / "missing")[0] == 2
    code, _, err = run(capsys, "inspect", tmp_path, "--repair", "mend")
    assert code == 2
    assert "mend" in err


def test_no_help_is_cut(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "..." not in out.partition("Commands:")[2]
    assert "see below" in run(capsys, "inspect", "--help")[1]


def test_help_names_the_repairs_without_pydicom():
    program = (
        "import sys\n"
        "from medkit.cli import main\n"
        "for command in (['--help'], ['dicom', '--help'], ['dicom', 'inspect', '--help']):\n"
        "    try:\n        main(command)\n    except SystemExit as ended:\n        assert not ended.code\n"
        "assert not {'pydicom', 'highdicom', 'torch'} & set(sys.modules), 'imported for help'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(repair.value in done.stdout for repair in Repair)


def test_without_pydicom_the_remedy_is_said(folder, monkeypatch, capsys):
    import medkit.dicom

    monkeypatch.setattr(medkit.dicom, "find_spec", lambda name: None)
    code, _, err = run(capsys, "inspect", folder)
    assert code == 2
    assert "pip install 'medkit-imaging[dicom]'" in err
