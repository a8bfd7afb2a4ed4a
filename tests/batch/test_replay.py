"""A replay says of two bundles what their results say, and leaves all as it was."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medkit.batch.intake.folder import take_folder
from medkit.batch.ledger import LedgerView, State
from medkit.batch.making.reading import Wanted
from medkit.batch.replay import complete_studies, open_side, replay_study, rules_of
from medkit.batch.replay_tables import ReplayTables
from medkit.batch.spool import Spool
from medkit.data.cases import find_cases
from medkit.dicom import convert
from medkit.errors import ExitCode, UsageError
from medkit.inference.loading import load_bundle
from medkit.inference.run import RunOptions, predict_cases
from tests.batch.making.conftest import study
from tests.batch.making.steps import bundle_that
from tests.batch.making.studies import PATIENT, RULE, shelf_of, write_study
from tests.batch.pacs.hospital import Batch
from tests.dicom.writing import oracles
from tests.tiny_bundle import edit_json

__all__ = ["study"]
FIRST = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.1"}


@pytest.fixture(scope="session")
def other_root(tiny_root, tmp_path_factory):
    """The tiny bundle in a later version: it labels the second of its structures as the first."""
    root = tmp_path_factory.mktemp("other") / "renamed_since"
    shutil.copytree(tiny_root, root)
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(version="9.9.9"))
    edit_json(
        root / "configs" / "inference.json", lambda config: config["clean_up"].update(largest_component=True)
    )
    return root


@pytest.fixture
def batch(tmp_path, tiny_root, study):
    """Of two studies, one of which lacks a slice."""
    batch = Batch(tmp_path / "batch", shelf_of(tiny_root))
    take_folder(study, batch.intake)
    gap = write_study(tmp_path / "gap", **FIRST)
    sorted(gap.iterdir())[0].unlink()
    yield batch
    batch.close()


def replay(batch, sides, folder, rules=(RULE,), names=("any-mr",)):
    tables, spool = ReplayTables(folder, sides), Spool(batch.job.spool)
    with LedgerView(batch.job.ledger) as view:
        studies = complete_studies(view, spool)
    assert studies
    for one in studies:
        tables.add(replay_study(one, spool, Wanted(rules), names, sides))
    tables.write()
    return tables


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sides_of(*roots):
    first, second = (open_side(root, [RULE]) for root in roots)
    return first, second


def by_hand(files, root, folder):
    """The label map as the commands make it, its millilitres a voxel, and the names of its labels."""
    bundle = load_bundle(root)
    convert(files, folder / "nifti")
    predict_cases(bundle, find_cases([folder / "nifti"]), folder / "results", RunOptions(pictures=False))
    (path,) = (folder / "results" / "labels").iterdir()
    image = nib.load(path)
    names = bundle.folder.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return np.asarray(image.dataobj), abs(np.linalg.det(image.affine[:3, :3])) / 1000, names


def test_the_differences_are_those_of_the_label_maps(batch, study, tiny_root, other_root, tmp_path):
    tables = replay(batch, sides_of(tiny_root, other_root), tmp_path / "out")
    first, millilitres, names = by_hand(study, tiny_root, tmp_path / "first")
    second, _, _ = by_hand(study, other_root, tmp_path / "second")
    found = {row["structure"]: row for row in rows(tmp_path / "out" / "differences.csv")}
    assert found.keys() == {name for value, name in names.items() if value != "0"}
    assert not np.array_equal(first, second), "this test has lost its subject"
    for value, name in names.items():
        if value == "0":
            continue
        one, two = first == int(value), second == int(value)
        dice = 2 * np.sum(one & two) / (one.sum() + two.sum())
        assert float(found[name]["dice"]) == pytest.approx(dice, abs=1e-4)
        assert float(found[name]["volume (ml)"]) == pytest.approx(one.sum() * millilitres, abs=1e-4)
        assert float(found[name]["against (ml)"]) == pytest.approx(two.sum() * millilitres, abs=1e-4)
        change = 100 * (two.sum() / one.sum() - 1)
        assert float(found[name]["change (%)"]) == pytest.approx(change, abs=1e-3)
    assert tables.exit_code() is ExitCode.DONE
    lowest = min(float(row["dice"]) for row in found.values())
    assert tables.exit_code(lowest_dice=lowest - 0.01) is ExitCode.DONE
    assert tables.exit_code(lowest_dice=lowest + 0.01) is ExitCode.SOME_FAILED
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["against"]["version"] == "9.9.9"
    assert summary["bundle"]["digest"] != summary["against"]["digest"]
    assert (summary["studies"], summary["volumes_compared"], summary["refused"]) == (1, 1, 0)
    assert len(tables.pictures) == 1
    assert tables.pictures[0].read_bytes()[:4] == b"\x89PNG"


def test_a_bundle_agrees_with_itself(batch, tiny_root, tmp_path):
    tables = replay(batch, sides_of(tiny_root, tiny_root), tmp_path / "out")
    assert [row.lowest_dice for row in tables.agreement()] == [1.0] * len(tables.agreement())
    assert {row["change (ml)"] for row in rows(tmp_path / "out" / "differences.csv")} == {"0.0000"}
    assert tables.pictures == []


def test_what_is_compared_is_what_would_be_made(batch, tiny_root, tmp_path):
    """The volumes of the tables are those of the segmentation that the batch makes of the study."""
    replay(batch, sides_of(tiny_root, tiny_root), tmp_path / "out")
    assert batch.make().state is State.MADE
    (path,) = [batch.job.results / one.path for one in batch.results() if one.path.endswith(".seg.dcm")]
    decoded, affine = oracles.by_highdicom(path)
    numbers = {item.SegmentLabel: item.SegmentNumber for item in dcmread(path).SegmentSequence}
    found = rows(tmp_path / "out" / "differences.csv")
    assert {row["structure"] for row in found if float(row["volume (ml)"])} == set(numbers)
    for row in found:
        made = np.sum(decoded == numbers.get(row["structure"], 0)) * abs(np.linalg.det(affine[:3, :3])) / 1000
        assert float(row["volume (ml)"]) == pytest.approx(made, abs=1e-3)


def test_nothing_is_changed(batch, tiny_root, other_root, tmp_path):
    def everything():
        paths = [path for path in batch.folder.rglob("*") if path.is_file() and ".sqlite-" not in path.name]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}, batch.ledger.history()

    before = everything()
    replay(batch, sides_of(tiny_root, other_root), tmp_path / "out")
    assert everything() == before
    assert batch.record.state is State.READY
    assert not batch.job.results.exists()


def test_nothing_of_the_patient_is_in_tables_and_names(batch, tiny_root, other_root, tmp_path):
    replay(batch, sides_of(tiny_root, other_root), tmp_path / "out")
    kept = "".join(path.name for path in (tmp_path / "out").iterdir())
    kept += "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".png")
    assert not [word for word in PATIENT if word in kept]


def test_a_bundle_that_alone_refuses(batch, tiny_root, tmp_path):
    abstains = bundle_that(tmp_path / "bundle", "abstains")
    tables = replay(batch, sides_of(tiny_root, abstains), tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "refusals.csv")
    assert (row["code"], row["against"], row["reason"]) == ("", "not-recognised", "")
    assert row["against: reason"].startswith("series 003: expected a brain")
    assert tables.exit_code() is ExitCode.NONE_SUCCEEDED, "there is nothing to compare"


def test_a_study_that_cannot_be_read_is_refused_alike(batch, tiny_root, other_root, tmp_path):
    take_folder(tmp_path / "gap", batch.intake)
    tables = replay(batch, sides_of(tiny_root, other_root), tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "refusals.csv")
    assert row["code"] == row["against"] != ""
    assert (tables.studies, tables.compared) == (2, 1)
    assert tables.exit_code() is ExitCode.DONE


def test_structures_that_one_bundle_does_not_know(batch, tiny_root, tmp_path):
    renamed = shutil.copytree(tiny_root, tmp_path / "renamed")

    def rename(metadata):
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] = "something else"

    edit_json(renamed / "configs" / "metadata.json", rename)
    tables = replay(batch, sides_of(tiny_root, renamed), tmp_path / "out")
    lowest = {row.structure: row.lowest_dice for row in tables.agreement()}
    assert lowest["something else"] == 0
    assert sorted(lowest.values()) == [0, 0, 1]
    found = {row["structure"]: row for row in rows(tmp_path / "out" / "differences.csv")}
    assert found["something else"]["volume (ml)"] == "0.0000"
    assert found["something else"]["change (%)"] == ""


def test_other_rules_are_not_replayed(batch, tiny_root, tmp_path):
    other = replace(RULE, name="others", bundle="hippocampus_segmentation_mamba")
    tables = replay(batch, sides_of(tiny_root, tiny_root), tmp_path / "out", (other,), ("any-mr",))
    assert (tables.skipped, tables.compared) == (1, 0)
    assert tables.exit_code() is ExitCode.NONE_SUCCEEDED


def test_studies_that_are_coming_or_gone_are_left_out(batch, tmp_path):
    spool = Spool(batch.job.spool)
    (one,) = complete_studies(batch.ledger, spool)
    batch.ledger.receive(one)
    assert complete_studies(batch.ledger, spool) == []
    assert complete_studies(batch.ledger, Spool(tmp_path / "empty")) == []


def test_the_rules_that_are_meant():
    rules = [RULE, replace(RULE, name="b", bundle="other")]
    assert rules_of(rules, {"other"}) == ["b"]
    assert rules_of(rules, {"moved-elsewhere"}, ["any-mr"]) == ["any-mr"]
    with pytest.raises(UsageError, match=r"expected a rule for moved-elsewhere, got none; .* any-mr, b"):
        rules_of(rules, {"moved-elsewhere"})
    with pytest.raises(UsageError, match=r"expected the name of a rule \(any-mr, b\), got c"):
        rules_of(rules, {"other"}, ["c"])


def test_a_bundle_with_other_inputs_is_told_before_the_first_study(tiny_root):
    two = replace(RULE, inputs={"a": RULE.inputs["image"], "b": RULE.inputs["image"]})
    with pytest.raises(UsageError, match="expected the inputs of"):
        open_side(tiny_root, [two])
