"""The command prints what the tables say, and ends as all others do."""

from __future__ import annotations

import json
import shutil

import pytest

from medkit.batch.intake.folder import take_folder
from medkit.batch.ledger import Stage
from medkit.cli import main
from tests.batch.making.conftest import study
from tests.batch.making.steps import bundle_that
from tests.batch.making.studies import shelf_of, write_study
from tests.batch.pacs.hospital import Batch
from tests.tiny_bundle import NAME, edit_json

__all__ = ["study"]
RULES = f"rules:\n  - name: any-mr\n    bundle: {NAME}\n    inputs:\n      image: {{modality: MR}}\n"


@pytest.fixture
def night(tmp_path, tiny_root, study):
    batch = Batch(tmp_path / "night", shelf_of(tiny_root))
    take_folder(study, batch.intake)
    uids = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.1"}
    take_folder(write_study(tmp_path / "second", seed=3, **uids), batch.intake)
    (tmp_path / "rules.yaml").write_text(RULES)
    yield batch
    batch.close()


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["batch", "replay", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_two_versions_are_compared(night, tmp_path, tiny_root, capsys):
    later = shutil.copytree(tiny_root, tmp_path / "later")
    edit_json(
        later / "configs" / "inference.json", lambda config: config["clean_up"].update(largest_component=True)
    )
    given = ["--rules", tmp_path / "rules.yaml", "--bundle", tiny_root, "--against", later, "--device", "cpu"]
    code, out, err = run(capsys, night.folder, *given, "-o", tmp_path / "out")
    assert (code, "Traceback" in err) == (0, False), err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["studies"], summary["volumes_compared"]) == (2, 2)
    for name, row in summary["structures"].items():
        assert name in out
        assert f"{row['lowest_dice']:.3f}" in out
        assert row["lowest_study"][:12] in out
    assert "2 studies: 2 volumes compared" in out
    for side in ("bundle", "against"):
        assert summary[side]["digest"][:12] in out
    lowest = min(row["lowest_dice"] for row in summary["structures"].values())
    wanted = ["--lowest-dice", min(1.0, lowest + 0.01), "--last", 2, "-o", tmp_path / "again"]
    assert run(capsys, night.folder, *given, *wanted)[0] == (3 if lowest < 1 else 0)


def test_one_study_and_a_bundle_that_refuses_it(night, tmp_path, tiny_root, capsys):
    refuses = bundle_that(tmp_path / "bundle", "abstains")
    study = night.ledger.studies()[0].study
    given = [
        "--rules",
        tmp_path / "rules.yaml",
        "--bundle",
        tiny_root,
        "--against",
        refuses,
        "--study",
        study[:8],
    ]
    code, out, _ = run(capsys, night.folder, *given, "-o", tmp_path / "out")
    assert code == 4
    assert "not-recognised" in out
    assert "1 study: 0 volumes compared, 1 that one bundle alone refuses" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--output": "night"}, "expected an empty folder"),
        ({"--rule": "none"}, "expected the name of a rule (any-mr), got none"),
        ({"--bundle": "nothing"}, "no bundle 'nothing'"),
        ({"--rules": "nothing.yaml"}, "nothing.yaml"),
        ({"--study": "abcd"}, "expected a study of this batch"),
        ({"folder": "."}, "expected the folder of a batch"),
    ],
)
def test_a_wrong_call(night, tmp_path, tiny_root, capsys, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    given = {
        "--rules": "rules.yaml",
        "--bundle": tiny_root,
        "--against": tiny_root,
        "--output": "out",
    } | changes
    folder = given.pop("folder", "night")
    code, _, err = run(capsys, folder, *(word for pair in given.items() for word in pair))
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_batch_without_its_store(night, tmp_path, tiny_root, capsys):
    night.spool.folder.rename(tmp_path / "away")
    given = ["--rules", tmp_path / "rules.yaml", "--bundle", tiny_root, "--against", tiny_root]
    code, _, err = run(capsys, night.folder, *given, "-o", tmp_path / "out")
    assert (code, "expected the store of the batch" in err) == (2, True)
    assert not night.spool.folder.exists()
    assert not (tmp_path / "out").exists()


def test_studies_that_were_purged_are_told(night, tmp_path, tiny_root, capsys):
    while (claim := night.ledger.claim(Stage.MAKE)) is not None:
        night.ledger.skip(claim, "no-rule", "no rule wants it")
    for stored in night.spool.studies():
        night.ledger.purged(stored)
        night.spool.discard(stored, night.ledger.at_end(stored))
    given = ["--rules", tmp_path / "rules.yaml", "--bundle", tiny_root, "--against", tiny_root]
    code, out, _ = run(capsys, night.folder, *given, "--device", "cpu", "-o", tmp_path / "out")
    assert code == 4
    assert "0 studies: 0 volumes compared" in out
    assert "2 studies are not stored any more: the instances were purged\n" in out
