"""The commands print, and end as all others do."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from jsonschema import Draft202012Validator

from medkit.batch.ledger import LedgerView, Mode, Result, Stage, State
from medkit.batch.marks import Mark
from medkit.batch.status.alerts import Thresholds
from medkit.batch.status.service_record import ServiceRecord
from medkit.cli import batch as commands
from medkit.cli import main
from tests.batch.status.live import MAKER, study, uid
from tests.batch.status.test_document import SCHEMA


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["batch", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_status_of_a_batch_that_is_well(batch, capsys):
    batch.deliver("a")
    code, out, err = run(capsys, "status", batch.job.root)
    assert (code, err) == (0, "")
    assert out.startswith("well")
    assert "inference" in out


def test_status_names_what_is_to_be_looked_at_first(batch, capsys):
    batch.one_of_each()
    code, out, _ = run(capsys, "status", batch.job.root)
    assert code == 3
    assert out.startswith("quarantine  1 study in quarantine")
    assert study(State.QUARANTINED)[:12] in out
    assert "tilt of <12> degrees" in " ".join(out.replace("│", " ").split())


def test_status_for_machines_keeps_to_its_schema(batch, capsys):
    batch.one_of_each()
    code, out, _ = run(capsys, "status", batch.job.root, "--json")
    assert code == 3
    Draft202012Validator(SCHEMA).validate(json.loads(out))


def test_silence_is_told_where_it_is_asked_for(batch, capsys):
    batch.deliver("a")
    assert run(capsys, "status", batch.job.root)[0] == 0
    code, out, _ = run(capsys, "status", batch.job.root, "--silent-hours", 24)
    assert code == 3
    assert "nothing-came" in out


def test_status_says_that_no_service_runs(batch, capsys):
    batch.deliver("a")
    assert "no service" not in run(capsys, "status", batch.job.root)[1]
    batch.service.release()
    code, out, _ = run(capsys, "status", batch.job.root)
    assert (code, out.splitlines()[1]) == (0, "no service runs on this folder")
    batch.arrive("b")
    code, out, _ = run(capsys, "status", batch.job.root)
    assert (code, out.startswith("no-service")) == (3, True)
    assert out.count("no service runs") == 1, "the alert says it"
    batch.give_up("b")
    assert "\nno service runs on this folder\n" in run(capsys, "status", batch.job.root)[1]


def test_status_goes_by_what_the_service_goes_by(batch, capsys, monkeypatch):
    monkeypatch.setattr(commands.time, "time", batch.clock)
    batch.make("a")
    batch.clock.pass_by(3600)
    free = shutil.disk_usage(batch.job.root).free
    asked = Thresholds(silent_hours=0.5, delivery_hours=0.5)
    ServiceRecord(asked, 0, began := batch.clock.now - 7200).write(batch.job)
    found = json.loads(run(capsys, "status", batch.job.root, "--json")[1])
    assert [alert["code"] for alert in found["alerts"]] == ["nothing-came", "delivery-stuck"]
    ServiceRecord(asked, 2 * free, began).write(batch.job)
    found = json.loads(run(capsys, "status", batch.job.root, "--json", "--silent-hours", 2)[1])
    assert [alert["code"] for alert in found["alerts"]] == ["delivery-stuck", "store-full"]
    assert found["alerts"][1]["message"].startswith("nothing is taken: ")


def test_silence_of_a_service_that_does_not_run_is_told_where_it_is_asked_for_alone(batch, capsys):
    batch.deliver("a")
    batch.service.release()
    ServiceRecord(Thresholds(silent_hours=1), 0, 1.0, 2.0).write(batch.job)
    assert run(capsys, "status", batch.job.root)[0] == 0
    assert "nothing-came" in run(capsys, "status", batch.job.root, "--silent-hours", 1)[1]


def test_status_says_how_a_batch_is_run(batch, capsys):
    for shadow, about in ((False, ""), (True, ""), (False, "shift-dates 0123abcd")):
        batch.ledger.run_as(Mode(shadow, about))
        found = run(capsys, "status", batch.job.root)[1]
        assert ("shadow: results are made, and none is sent\n" in found) is shadow
        words = "results are about nobody (shift-dates)\n"  # what the key was is guessed from no page
        assert (words in found) is bool(about)


def test_the_studies_of_a_state(batch, capsys):
    batch.one_of_each()
    code, out, _ = run(capsys, "status", batch.job.root, "--state", "refused", "--json")
    assert code == 0
    (one,) = json.loads(out)
    assert (one["study"], one["code"]) == (study(State.REFUSED), "tilt")
    code, out, _ = run(capsys, "status", batch.job.root, "--state", "skipped")
    assert (code, study(State.SKIPPED)[:12] in out, study(State.REFUSED)[:12] in out) == (0, True, False)


def test_a_study_whose_instances_were_purged_says_so_until_they_come_again(batch, capsys):
    batch.bring(State.QUARANTINED)
    call = ("status", batch.job.root, "--state", "quarantined")
    assert "purged" not in run(capsys, *call)[1]
    run(capsys, "purge", batch.job.root, study(State.QUARANTINED))
    out = " ".join(run(capsys, *call)[1].split())
    assert "1, purged" in out
    batch.receive(State.QUARANTINED)
    assert "purged" not in run(capsys, *call)[1]


def test_the_studies_of_a_state_for_one_reason(batch, capsys):
    batch.deliver("whole")
    batch.deliver("half", refused="the left of two")
    call = ("status", batch.job.root, "--state", "delivered", "--code", "partly-refused", "--json")
    code, out, _ = run(capsys, *call)
    (told,) = json.loads(out)
    assert (code, told["study"], told["reason"]) == (0, study("half"), "the left of two")
    assert "the left of two" in run(capsys, "history", batch.job.root, study("half"))[1]
    assert run(capsys, "status", batch.job.root, "--code", "partly-refused")[0] == 2


def test_the_studies_that_are_received_and_not_whole_for_one_reason(batch, capsys):
    """The alert of studies that are stuck names such a reason; the marks have it, and not the ledger."""
    batch.deliver("back")
    for name, mark in (
        ("stuck", "not-released"),
        ("broken", "cut-off"),
        ("back", "not-released"),
        ("well", None),
    ):
        batch.receive(name)
        if mark is not None:
            batch.spool.miss(study(name), Mark("ab" * 32, mark, "node"))
    call = ("status", batch.job.root, "--json", "--code", "not-released", "--state")
    for state, names in (("receiving", ("stuck", "back")), ("delivered", ("back",))):
        code, out, err = run(capsys, *call, state)
        assert (code, err) == (0, "")
        told = {(one["study"], one["code"]) for one in json.loads(out)}
        assert told == {(study(name), "not-released") for name in names}
    out = run(capsys, "status", batch.job.root)[1]
    assert "4, 1 of them again, the first for " in out
    out = run(capsys, "status", batch.job.root, "--state", "receiving")[1]
    assert (out.count("receiving"), out.count("delivered, more arrives")) == (3, 1)


def test_the_states_of_the_options_are_those_of_the_ledger():
    assert list(commands._STATES) == [str(state) for state in State if state is not State.SUPERSEDED]


def test_history_of_a_study_and_its_objects(batch, capsys):
    batch.deliver("a")
    batch.receive("b")
    for name in (study("a"), study("a")[:8], uid("a")):
        code, out, _ = run(capsys, "history", batch.job.root, name)
        assert code == 0
        assert out.startswith(f"study {study('a')}")
        assert "delivering" in out
        assert "2.25." in out
        assert "2023-11-14T22:13:20Z" in out
        assert study("b")[:12] not in out
    code, out, _ = run(capsys, "history", batch.job.root)
    assert (code, study("a")[:12] in out, study("b")[:12] in out) == (0, True, True)
    code, out, _ = run(capsys, "history", batch.job.root, "--last", 1)
    assert (code, study("a")[:12] in out) == (0, False)


def test_history_cuts_nothing_off(batch, capsys):
    reason = (
        "a reason that is longer than a line of a table, and says at its end what is to be done: " + "x" * 200
    )
    batch.deliver("a")
    batch.arrive("b")
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "tilt", reason)
    for name in ("a", "b"):
        out = run(capsys, "history", batch.job.root, study(name))[1]
        assert "…" not in out
        assert all(one.uid in out for one in batch.ledger.results(study(name), 1))
    assert reason in out
    out = run(capsys, "history", batch.job.root, study("a"))[1]
    assert out.count("2023-11-14T22:13:20Z") == 9, "six moves, and three times of the object"
    assert "brain/003.seg.dcm" in out
    assert f"made by {MAKER}" in out


def test_history_for_machines(batch, capsys):
    batch.deliver("a")
    batch.spool.miss(study("a"), Mark("ab" * 32, "cut-off", "door"))
    code, out, err = run(capsys, "history", batch.job.root, uid("a"), "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["study"] == study("a")
    assert told["not_taken"] == [
        {"what": "instance", "not_taken": "ab" * 32, "code": "cut-off", "by": "door", "lifted": False}
    ]
    (made,) = [one for one in told["history"] if one["to"] == "made"]
    assert made == {
        "at": "2023-11-14T22:13:20Z",
        "study": study("a"),
        "revision": 1,
        "from": "running",
        "to": "made",
        "by": batch.ledger.owner,
        "code": None,
        "reason": f"made by {MAKER}",
    }
    (there,) = told["objects"]
    (result,) = batch.ledger.results(study("a"), 1)
    assert (there["uid"], there["sha256"], there["path"]) == (result.uid, result.sha256, result.path)
    assert (there["revision"], there["read_back"]) == (1, "2023-11-14T22:13:20Z")
    assert there["withdrawn"] is None
    lines = json.loads(run(capsys, "history", batch.job.root, "--last", 2, "--json")[1])
    assert [one["to"] for one in lines] == ["delivering", "delivered"]


def test_history_shows_a_mark_as_what_it_is(batch, capsys):
    batch.receive("a")
    marks = {
        Mark("ab" * 32, "cut-off", "door"): "instance abababababab",
        Mark("cd" * 32, "broken-file", "watch"): "file cdcdcdcdcdcd",
        Mark.not_released("CT1"): "word of the sender that this is all",
        Mark("ef" * 32, "not-counted", "count"): "count of an archive",
        Mark(study("a"), "folder-unfinished", "folder"): "rest of the study",
        Mark(study("a"), "pull-unfinished", "pull"): "rest of the study",
    }
    for mark in marks:
        batch.spool.miss(study("a"), mark)
    out = run(capsys, "history", batch.job.root, study("a"))[1]
    lines = [
        [cell.strip() for cell in line.split("│")[1:4]] for line in out.splitlines() if "not whole" in line
    ]
    who = {"door": "medkit", "count": "medkit"}
    assert sorted(lines) == sorted(
        [what, one.code, one.caller or who.get(one.owner, one.owner)] for one, what in marks.items()
    )
    told = json.loads(run(capsys, "history", batch.job.root, study("a"), "--json")[1])["not_taken"]
    whats = {mark.code: what for mark, what in marks.items()}
    assert len(told) == len(marks)
    assert all(whats[one["code"]].startswith(one["what"]) for one in told)


def test_history_shows_what_came_with_two_contents(batch, capsys):
    batch.receive("a")
    assert "came with" not in run(capsys, "history", batch.job.root, study("a"))[1]
    instance = batch.spool.store(uid("a"), f"{uid('a')}.1", io.BytesIO(b"another")).instance.instance
    out = run(capsys, "history", batch.job.root, study("a"))[1]
    (line,) = [line for line in out.splitlines() if "came with several contents" in line]
    assert (f"instance {instance[:12]}" in line, "instance-conflict in the audit log" in line) == (True, True)
    told = json.loads(run(capsys, "history", batch.job.root, study("a"), "--json")[1])
    assert (told["conflicts"], told["not_taken"]) == ([instance], [])


def test_history_of_a_study_whose_store_is_gone(batch, capsys):
    batch.deliver("a")
    shutil.rmtree(batch.job.spool)
    code, out, err = run(capsys, "history", batch.job.root, study("a"))
    assert (code, err, "what is missed" in out, MAKER in out) == (0, "", False, True)
    told = json.loads(run(capsys, "history", batch.job.root, study("a"), "--json")[1])
    assert (told["not_taken"], len(told["objects"])) == ([], 1)
    assert not batch.job.spool.exists()


def test_the_studies_that_a_bundle_made(batch, capsys):
    batch.make("a")
    batch.arrive("b")
    batch.ledger.made(
        batch.ledger.claim(Stage.MAKE),
        [Result("2.25.7", "archive", "c" * 64, "x")],
        "recipe",
        ["brain 0.2.0 (ba9876543210)"],
    )
    digest = "0123456789ab" + "f" * 52
    makers = {
        "brain": "ab",
        "brain 0.2.0": "b",
        digest: "a",
        digest[:40]: "a",
        "ba98": "b",
    }
    for maker, found in makers.items():
        code, out, _ = run(capsys, "history", batch.job.root, "--made-by", maker, "--json")
        assert code == 0
        assert [one["study"] for one in json.loads(out)] == [study(name) for name in found]
    code, out, _ = run(capsys, "history", batch.job.root, "--made-by", "brain 0.2.0")
    assert (code, study("b")[:12] in out, study("a")[:12] in out) == (0, True, False)
    for unknown in ("c" * 64, "rain"):
        code, out, err = run(capsys, "history", batch.job.root, "--made-by", unknown, "--json")
        assert (code, out, f"brain 0.2.0 (ba9876543210)), got '{unknown}'" in err) == (2, "", True)
    code, _, err = run(capsys, "history", batch.job.root, study("a"), "--made-by", "brain")
    assert (code, "expected STUDY or --made-by, got both" in err) == (2, True)


def test_where_nothing_was_made_yet_no_bundle_made_anything(batch, capsys):
    code, _, err = run(capsys, "history", batch.job.root, "--made-by", "brain")
    assert (code, "(there is none yet), got 'brain'" in err) == (2, True)


def test_verify_says_what_is_not_as_it_was_left(batch, capsys):
    batch.one_of_each()
    code, out, err = run(capsys, "verify", batch.job.root)
    assert (code, err.strip()) == (0, "")
    assert "10 studies, 10 stored instances hashed, 0 faults" in out
    head = out.splitlines()[-1].removeprefix("audit log: ")
    batch.audit.append("started")
    assert run(capsys, "verify", batch.job.root, "--head", head)[0] == 0
    (instance,) = batch.spool.instances(study(State.MADE))
    instance.path.write_bytes(b"bitrot")
    code, out, _ = run(capsys, "verify", batch.job.root)
    assert (code, "fault in instances: " in out) == (3, True)
    assert "10 stored instances hashed, 1 fault\n" in out
    assert run(capsys, "verify", batch.job.root, "--quick")[0] == 0
    code, out, _ = run(capsys, "verify", batch.job.root, "--quick", "--head", f"99:{'a' * 64}")
    assert (code, "the end is gone" in out) == (3, True)
    code, _, err = run(capsys, "verify", batch.job.root, "--head", "99")
    assert (code, "expected NUMBER:SHA256" in err) == (2, True)


@pytest.mark.parametrize("name", ["status", "history", "retry", "quarantine", "verify"])
def test_a_folder_without_a_batch(tmp_path, capsys, name):
    arguments = ["abcdef"] if name in ("retry", "quarantine") else []
    code, out, err = run(capsys, name, tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert f"{tmp_path}: expected the folder of a batch" in err
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_read_is_one_line(tmp_path, capsys):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 100)
    code, out, err = run(capsys, "status", tmp_path)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1


def test_an_unknown_study_is_one_line(batch, capsys):
    batch.receive("a")
    for name in ("history", "retry", "quarantine", "lift", "dismiss"):
        code, _, err = run(capsys, name, batch.job.root, "0" * 64)
        assert (code, "expected a study of this batch, or a result's" in err) == (2, True)
    with LedgerView(batch.job.ledger) as view:
        assert len(view.history()) == 1


RULES = """rules:
  - name: t1
    bundle: hippocampus_segmentation_unet
    inputs:
      image: {modality: MR}
"""


def test_rules_are_checked_with_their_bundles(tmp_path, capsys):
    path = tmp_path / "rules.yaml"
    path.write_text(RULES, encoding="utf-8")
    code, out, err = run(capsys, "check-rules", path)
    assert (code, out, err) == (0, "t1: hippocampus_segmentation_unet (image)\n", "")
    path.write_text(RULES.replace("unet", "unit"), encoding="utf-8")
    code, out, err = run(capsys, "check-rules", path)
    assert (code, out) == (2, "")
    assert (
        f"{path}: line {RULES[: RULES.index('bundle:')].count(chr(10)) + 1}: rules[1].bundle: no bundle "
        in err
    )
    wrong = RULES.replace("hippocampus_segmentation_unet", "glioma_segmentation_agunet")
    path.write_text(wrong, encoding="utf-8")
    code, out, err = run(capsys, "check-rules", path)
    assert (code, out) == (2, "")
    assert "rules[1].bundle: rules: expected the inputs of glioma_segmentation_agunet, flair, " in err
    path.write_text(RULES.replace("modality", "modalty").replace("name: t1", "name: 7"), encoding="utf-8")
    code, out, err = run(capsys, "check-rules", path)
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "line 2" in err
    assert run(capsys, "check-rules", tmp_path / "missing.yaml")[0] == 2


def test_no_patient_is_printed(batch, capsys):
    batch.one_of_each()
    batch.spool.store(uid("a"), "1.2", io.BytesIO(b"DOE^JOHN"))
    for arguments in (["status"], ["status", "--json"], ["history"], ["verify"]):
        code, out, err = run(capsys, arguments[0], batch.job.root, *arguments[1:])
        assert code in (0, 3)
        assert "1.2.3." not in out + err
        assert "DOE" not in out + err
