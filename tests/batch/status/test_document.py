from __future__ import annotations

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator, ValidationError

from medkit.batch.folder import ServiceState
from medkit.batch.ledger import Mode, State
from medkit.batch.status.alerts import AlertCode, Thresholds, alerts
from medkit.batch.status.document import status_document
from medkit.batch.status.service_record import ServiceRecord
from medkit.batch.status.summary import LISTED
from tests.batch.status.live import STATES, study
from tests.batch.status.test_summary import look

SCHEMA = json.loads((files("medkit") / "schemas" / "batch_status.schema.json").read_text(encoding="utf-8"))


def document(batch, **options):
    summary = look(batch, **options)
    found = json.loads(json.dumps(status_document(summary, alerts(summary, Thresholds()))))
    Draft202012Validator(SCHEMA).validate(found)
    return found


def test_an_empty_batch_keeps_to_the_schema(batch):
    found = document(batch)
    assert (found["well"], found["service"], found["shadow"]) == (True, "running", False)
    assert found["arrivals"] == {"last": None, "last_hour": 0, "last_day": 0}
    assert found["at"] == "2023-11-14T22:13:20Z"


def test_a_study_in_each_state_keeps_to_the_schema(batch):
    found = document(batch.one_of_each(), free=0)
    assert found["well"] is False
    assert [alert["code"] for alert in found["alerts"]] == ["quarantine", "store-full"]
    assert found["studies"] == dict.fromkeys(STATES, 1)
    assert found["stages"]["reading"] == {"count": 3, "mean_seconds": 0.5, "longest_seconds": 0.5}
    refused = next(one for one in found["troubled"] if one["state"] == "refused")
    assert (refused["study"], refused["code"]) == (study(State.REFUSED), "tilt")


def test_it_says_that_no_service_runs_and_that_the_batch_is_a_shadow(batch):
    batch.service.release()
    batch.ledger.run_as(Mode(shadow=True))
    found = document(batch)
    assert (found["well"], found["service"], found["shadow"]) == (True, "stopped", True)
    assert found["about_nobody"] is None
    batch.ledger.run_as(Mode(about="remove-dates 0123abcd"))
    found = document(batch)
    assert (found["shadow"], found["about_nobody"]) == (False, "remove-dates")
    batch.ledger.run_as(Mode(shadow=True))
    ServiceRecord(began=1.0).write(batch.job)
    found = document(batch)
    assert (found["well"], found["service"]) == (False, "killed")


def test_the_schema_has_every_state_and_alert_and_the_bounds():
    assert SCHEMA["$defs"]["state"]["enum"] == [str(state) for state in STATES]
    assert SCHEMA["properties"]["studies"]["required"] == [str(state) for state in STATES]
    (codes,) = (SCHEMA["properties"]["alerts"]["items"]["properties"]["code"]["enum"],)
    assert codes == [str(code) for code in AlertCode]
    assert {SCHEMA["properties"][name]["maxItems"] for name in ("reasons", "troubled", "latest")} == {LISTED}


def test_the_schema_knows_every_state_of_a_service():
    assert SCHEMA["properties"]["service"]["enum"] == [str(state) for state in ServiceState]


def test_the_schema_refuses_what_it_does_not_know(batch):
    Draft202012Validator.check_schema(SCHEMA)
    found = document(batch.one_of_each())
    for wrong in (
        {**found, "patient": "Doe"},
        {**found, "latest": [{**found["latest"][0], "study": "1.2.840.1"}]},
        {key: value for key, value in found.items() if key != "alerts"},
    ):
        with pytest.raises(ValidationError):
            Draft202012Validator(SCHEMA).validate(wrong)


def test_no_uid_of_the_source_is_in_it(batch):
    batch.one_of_each()
    assert "1.2.3." not in json.dumps(document(batch))
