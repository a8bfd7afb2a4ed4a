"""Verdicts are complete, for machines, and have no patient's data."""

from __future__ import annotations

import json

from medkit.dicom import inspect
from tests.dicom_series.stacks import Stack


def test_each_series_with_its_reasons(stack, written):
    other = Stack(stack.rng, identity=stack.identity.another_series(stack.rng))
    del other.datasets[3].ImagePositionPatient
    record = inspect(written([*stack.datasets, *other.datasets]), repairs=["deshear"])
    record = json.loads(json.dumps(record))
    assert [series["verdict"] for series in record["series"]] == ["read", "refused"]
    assert record["repairs"] == ["deshear"]
    (volume,) = record["series"][0]["volumes"]
    assert volume["shape"] == [14, 12, 9]
    assert volume["type"] == "int16"
    assert volume["affine"][3] == [0, 0, 0, 1]
    assert record["series"][1]["refusals"][0]["code"] == "no-geometry"


def test_no_patient_s_data(stack, written):
    secrets = {
        "PatientName": "Secretname^Jane",
        "PatientID": "ID-4711",
        "PatientBirthDate": "19610203",
        "AccessionNumber": "ACC-0815",
        "StudyDescription": "secretdescription",
        "SeriesDescription": "secretseries",
        "InstitutionName": "secrethospital",
        "ReferringPhysicianName": "Secretdoctor",
    }
    for dataset in stack.datasets:
        for name, value in secrets.items():
            setattr(dataset, name, value)
    folder = written(stack.datasets)
    text = json.dumps(inspect(folder))
    stack.datasets[3].PatientName = "Othersecret^Joe"
    refused = json.dumps(inspect(written(stack.datasets, "mixed")))
    assert "mixed-patient" in refused
    for secret in (*secrets.values(), "Othersecret^Joe"):
        assert secret not in text
        assert secret not in refused


def test_a_pick_that_was_asked_for_is_recorded(stack, written):
    assert inspect(written(stack.datasets), picks={"series": "3"})["picks"] == {"series": "3"}
