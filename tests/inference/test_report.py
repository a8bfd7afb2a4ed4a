"""The report and every record have the form that their schemas say."""

from __future__ import annotations

import csv
import json
from importlib.resources import files

import nibabel as nib
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from medkit.data import find_cases
from medkit.inference.report import assemble_report
from medkit.inference.run import RunOptions, predict_cases
from tests.phantoms import PLAIN, hippocampus, nifti, write_hippocampus

SCHEMAS = {
    name: json.loads((files("medkit") / "schemas" / f"{name}.schema.json").read_text())
    for name in ("case", "report")
}


def validator(name):
    registry = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
    )
    return Draft202012Validator(SCHEMAS[name], registry=registry)


@pytest.fixture(scope="module")
def output(tiny, tmp_path_factory):
    """A results folder with two good cases, one of them below, and two failed ones."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "images" / "deep").mkdir(parents=True)
    write_hippocampus(folder / "images" / "good.nii.gz")
    write_hippocampus(folder / "images" / "deep" / "good, too.nii.gz")
    nib.save(
        nifti(nib.load(folder / "images" / "good.nii.gz").get_fdata()[..., 0]), folder / "images" / "flat.nii"
    )
    (folder / "list.json").write_text(json.dumps([str(folder / "images" / "none.nii")]))
    cases = find_cases([folder / "images", folder / "list.json"])
    predict_cases(tiny, cases, folder / "out", RunOptions(probabilities=True, uncertainty=True))
    return folder / "out"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_itself_valid_and_explains_its_fields(name):
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["description"]


def test_report_and_records_follow_their_schemas(output):
    report = json.loads((output / "report.json").read_text())
    validator("report").validate(report)
    assert (report["cases_total"], report["cases_done"], report["cases_failed"]) == (4, 2, 2)
    assert [case["case"] for case in report["cases"]] == ["deep/good, too", "flat", "good", "none"]
    for case in report["cases"]:
        record = json.loads((output / "cases" / f"{case['case']}.json").read_text())
        assert record == case
        validator("case").validate(record)


def test_results_saved_from_python_follow_the_schema(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_hippocampus(tmp_path / "scan.nii")
    tiny.predict("scan.nii").save(tmp_path, picture=False)
    record = json.loads((tmp_path / "cases" / "scan.json").read_text())
    validator("case").validate(record)
    assert record["input"][0]["path"] == str(tmp_path / "scan.nii")
    tiny.predict(hippocampus(affine=PLAIN)[0], PLAIN).save(tmp_path, picture=False)
    record = json.loads((tmp_path / "cases" / "image.json").read_text())
    validator("case").validate(record)
    assert record["input"][0]["path"] == "<array>"
    assert "read" in record["seconds"]


@pytest.mark.parametrize(
    ("status", "change"),
    [
        ("done", lambda record: record.pop("volumes_ml")),
        ("done", lambda record: record.pop("bundle_digest")),
        ("done", lambda record: record.update(code="x")),
        ("done", lambda record: record.update(surprise=1)),
        ("done", lambda record: record["input"].clear()),
        ("done", lambda record: record["outputs"].pop("labels")),
        ("failed", lambda record: record.pop("reason")),
        ("failed", lambda record: record.update(reason="two\nlines")),
        ("failed", lambda record: record.update(outputs={"labels": "x"})),
    ],
)
def test_schema_notices_what_is_wrong(output, status, change):
    report = json.loads((output / "report.json").read_text())
    record = next(case for case in report["cases"] if case["status"] == status)
    change(record)
    assert not validator("case").is_valid(record)
    assert not validator("report").is_valid(report)


def test_hashes_are_those_of_sha256sum(output):
    import hashlib
    from pathlib import Path

    report = json.loads((output / "report.json").read_text())
    for case in report["cases"]:
        for file in case["input"]:
            path = Path(file["path"])
            assert file["sha256"] == (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            )


def test_volumes_are_those_of_the_label_maps(output):
    rows = list(csv.DictReader((output / "volumes.csv").open()))
    assert [row["case"] for row in rows] == ["deep/good, too", "good"]
    for row in rows:
        labels = nib.load(output / "labels" / f"{row['case']}.nii.gz")
        voxel = abs(nib.affines.voxel_sizes(labels.affine).prod()) / 1000
        for value, name in ((1, "anterior hippocampus"), (2, "posterior hippocampus")):
            expected = (labels.get_fdata() == value).sum() * voxel
            assert float(row[f"{name} (ml)"]) == pytest.approx(expected, abs=1e-4)


def test_folder_without_records(tmp_path):
    assert assemble_report(tmp_path)["cases_total"] == 0
    validator("report").validate(json.loads((tmp_path / "report.json").read_text()))
    assert (tmp_path / "volumes.csv").read_text() == "case,notes\n"


def test_record_that_a_killed_writer_left_unnamed_is_none(tiny, tmp_path):
    (tmp_path / "images").mkdir()
    write_hippocampus(tmp_path / "images" / "a.nii.gz")
    predict_cases(tiny, find_cases([tmp_path / "images"]), tmp_path / "out", RunOptions(pictures=False))
    record = tmp_path / "out" / "cases" / "a.json"
    record.with_name(".part-1-a.json").write_text(record.read_text())
    assert assemble_report(tmp_path / "out")["cases_total"] == 1


def test_a_name_whose_volumes_are_all_unknown_is_in_no_unit_and_notes_stand_beside_volumes(output, tmp_path):
    """Cases of known and of unknown voxel size may lie in one folder."""
    record = json.loads((output / "cases" / "good.json").read_text())
    (tmp_path / "cases").mkdir()
    for case, volumes, notes in (
        ("a", {"one": 1.25, "two": 0.0}, []),
        ("b", {"one": "unknown", "three": "unknown"}, ["one, cut by the edge", "no size"]),
    ):
        changed = {**record, "case": case, "volumes_ml": volumes, "notes": notes}
        validator("case").validate(changed)
        (tmp_path / "cases" / f"{case}.json").write_text(json.dumps(changed))
    assemble_report(tmp_path)
    assert (tmp_path / "volumes.csv").read_text().splitlines() == [
        "case,one (ml),two (ml),three,notes",
        "a,1.2500,0.0000,,",
        'b,unknown,,unknown,"one, cut by the edge; no size"',
    ]


def test_an_expected_volume_is_as_unknown_as_the_counted_one(output, tmp_path):
    record = json.loads((output / "cases" / "good.json").read_text())
    measures = {"mean_entropy": 0.5, "expected_ml": None, "volume_cv": None, "pairwise_dice": None}
    changed = {**record, "volumes_ml": {"one": "unknown", "two": 0.0}}
    changed["uncertainty"] = {"one": measures, "two": {**measures, "mean_entropy": None}}
    validator("case").validate(changed)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "good.json").write_text(json.dumps(changed))
    assemble_report(tmp_path)
    assert (tmp_path / "uncertainty.csv").read_text().splitlines()[1:] == [
        "good,one,unknown,unknown,0.5000,,,no",
        "good,two,0.0000,,,,,no",
    ]
