"""``medkit dicom deidentify`` says what it did, without saying whose it was in what it writes."""

from __future__ import annotations

import json

import pytest

from medkit.cli import main
from tests.dicom_series import make

KEY = "MEDKIT_DEIDENTIFICATION_KEY"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["dicom", "deidentify", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def names(folder):
    return {path.name for path in folder.rglob("*.dcm")}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    make("axial", tmp_path / "study")
    return tmp_path / "study"


def test_all_written(study, tmp_path, capsys):
    code, out, err = run(capsys, study, "-o", tmp_path / "out", "--shift-dates")
    assert (code, err) == (0, "")
    assert "9 objects written, 0 left out" in out
    record = json.loads((tmp_path / "out" / "deidentification.json").read_text())
    assert (record["written"], record["shift_dates"], record["keep_diffusion"]) == (9, True, False)


def test_some_and_all_left_out(study, tmp_path, capsys):
    make("rgb", study / "screens")
    code, out, err = run(capsys, study, "-o", tmp_path / "out")
    assert code == 3
    assert "left out burned-in: screens/" in err
    assert len(err.splitlines()) == 1
    assert err.endswith(" (8 more files there so)\n")
    assert "9 objects written" in out
    assert "screens" not in (tmp_path / "out" / "deidentification.json").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("no DICOM")
    assert run(capsys, tmp_path / "other", "-o", tmp_path / "none")[0] == 4


def test_a_key_holds_for_every_call_and_none_for_one(study, tmp_path, capsys, monkeypatch):
    for name in ("one", "two"):
        run(capsys, study, "-o", tmp_path / name)
    assert names(tmp_path / "one").isdisjoint(names(tmp_path / "two"))
    monkeypatch.setenv(KEY, "of sixteen letters")
    for name in ("three", "four"):
        run(capsys, study, "-o", tmp_path / name)
    assert names(tmp_path / "three") == names(tmp_path / "four") != set()


def test_wrong_calls(study, tmp_path, capsys, monkeypatch):
    code, _, err = run(capsys, study, "-o", study)
    assert code == 2
    assert "expected an empty folder" in err
    code, _, err = run(capsys, tmp_path / "nothing", "-o", tmp_path / "out")
    assert code == 2
    monkeypatch.setenv(KEY, "short")
    code, _, err = run(capsys, study, "-o", tmp_path / "out")
    assert code == 2
    assert f"{KEY}: expected a key of at least 16 bytes" in err
    assert len(err.strip().splitlines()) == 1
