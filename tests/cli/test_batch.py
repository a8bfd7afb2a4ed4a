"""The commands print, move, and end as all others do."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time

import pytest
from jsonschema import Draft202012Validator

from medkit.batch.audit import AuditLog
from medkit.batch.ledger import LedgerView, Result, Stage, State
from medkit.batch.marks import Mark
from medkit.batch.status.alerts import Thresholds
from medkit.batch.status.service_record import ServiceRecord
from medkit.cli import batch as commands
from medkit.cli import main
from medkit.dicom.writing.stubs import is_stub, reduce_to_stub
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import MAKER, LiveBatch, study, uid
from tests.batch.status.test_document import SCHEMA


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    ServiceRecord(kept_free_bytes=0).write(live.job)  # or the disk of the machine may be told
    yield live
    live.ledger.close()


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
    batch.ledger.quarantine(study("b"), "look at it")
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


def test_status_says_that_a_batch_is_a_shadow(batch, capsys):
    batch.make("a")
    assert "shadow" not in run(capsys, "status", batch.job.root)[1]
    batch.job.shadow.touch()
    assert "shadow: results are made, and none is sent" in run(capsys, "status", batch.job.root)[1]


def test_the_studies_of_a_state(batch, capsys):
    batch.one_of_each()
    code, out, _ = run(capsys, "status", batch.job.root, "--state", "refused", "--json")
    assert code == 0
    (one,) = json.loads(out)
    assert (one["study"], one["code"]) == (study(State.REFUSED), "tilt")
    code, out, _ = run(capsys, "status", batch.job.root, "--state", "skipped")
    assert (code, study(State.SKIPPED)[:12] in out, study(State.REFUSED)[:12] in out) == (0, True, False)


def test_the_studies_of_a_state_for_one_reason(batch, capsys):
    batch.deliver("whole")
    batch.deliver("half", refused="the left of two")
    call = ("status", batch.job.root, "--state", "delivered", "--code", "partly-refused", "--json")
    code, out, _ = run(capsys, *call)
    (told,) = json.loads(out)
    assert (code, told["study"], told["reason"]) == (0, study("half"), "the left of two")
    assert "the left of two" in run(capsys, "history", batch.job.root, study("half"))[1]
    assert run(capsys, "status", batch.job.root, "--code", "partly-refused")[0] == 2


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
    assert told["not_taken"] == [{"not_taken": "ab" * 32, "code": "cut-off", "by": "door", "lifted": False}]
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


def test_history_of_a_study_whose_store_is_gone(batch, capsys):
    batch.deliver("a")
    shutil.rmtree(batch.job.spool)
    code, out, err = run(capsys, "history", batch.job.root, study("a"))
    assert (code, err, "not taken" in out, MAKER in out) == (0, "", False, True)
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


def test_retry_moves_and_leaves_a_trace(batch, capsys):
    batch.one_of_each()
    refused = study(State.REFUSED)
    code, out, err = run(capsys, "retry", batch.job.root, refused[:10], "--reason", "the rules were mended")
    assert (code, err) == (0, "")
    assert out == f"retried {refused[:12]}: refused, now ready\n"
    entry = batch.ledger.history(refused)[-1]
    assert (entry.after, entry.code, entry.reason) == (State.READY, "retried", "the rules were mended")
    assert "@" in entry.actor


def test_a_study_that_was_not_taken_says_so_and_is_sent_again_and_not_retried(batch, capsys):
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), Mark(study("x"), "low-disk", "store"))
    (one,) = json.loads(run(capsys, "status", batch.job.root, "--state", "receiving", "--json")[1])
    assert (one["code"], "send the study again" in one["reason"]) == ("low-disk", True)
    code, out, err = run(capsys, "retry", batch.job.root, study("a"))
    assert (code, out) == (4, "")
    assert "got no revision of it yet; where something of it was not taken, send it again" in err


def test_the_audit_log_says_who_asked(batch, capsys):
    batch.one_of_each()
    run(capsys, "retry", batch.job.root, study(State.REFUSED))
    lines = [json.loads(line) for path in sorted(batch.job.audit.glob("*.jsonl")) for line in path.open()]
    last = lines[-1]
    assert (last["event"], last["study"], last["before"], last["after"]) == (
        *("retried", study(State.REFUSED)),
        *("refused", "ready"),
    )
    assert "@" in last["actor"]
    assert batch.audit.verify().broken is None


def test_retry_of_all_that_came_to_grief_for_one_reason(batch, capsys):
    for name in ("a", "b", "c"):
        batch.arrive(name)
        code = "tilt" if name == "c" else "bundle-missing"
        batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), code, "x")
    code, out, _ = run(capsys, "retry", batch.job.root, "--state", "refused", "--code", "bundle-missing")
    assert (code, len(out.splitlines())) == (0, 2)
    assert batch.ledger.counts()[State.READY] == 2
    assert run(capsys, "retry", batch.job.root, "--state", "refused")[0] == 0
    assert batch.ledger.counts()[State.READY] == 3
    assert run(capsys, "retry", batch.job.root, "--state", "refused") == (0, "no such studies\n", "")


def test_some_and_none_can_be_retried(batch, capsys):
    batch.one_of_each()
    good, bad = study(State.SKIPPED), study(State.DELIVERED)
    code, out, err = run(capsys, "retry", batch.job.root, bad, good)
    assert code == 3
    assert good[:12] in out
    assert f"study {bad}: expected it quarantined, refused or skipped, got delivered" in err
    assert run(capsys, "retry", batch.job.root, bad)[0] == 4
    assert batch.ledger.study(bad).state is State.DELIVERED


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        ([], "nothing"),
        (["abcdef", "--state", "refused"], "both"),
        (["--code", "tilt"], "--code alone"),
        (["abcdef", "--code", "tilt"], "studies and --code"),
    ],
)
def test_retry_wants_studies_or_a_state(batch, capsys, arguments, got):
    code, _, err = run(capsys, "retry", batch.job.root, *arguments)
    assert code == 2
    assert f"expected studies, or --state (with --code or without), got {got}\n" in err


def test_quarantine_sets_aside_until_retried(batch, capsys):
    batch.make("a")
    code, out, _ = run(capsys, "quarantine", batch.job.root, uid("a"), "--reason", "asked for")
    assert (code, out) == (0, f"set aside {study('a')[:12]}: made, now quarantined\n")
    assert batch.ledger.claim(Stage.DELIVER) is None
    assert run(capsys, "status", batch.job.root)[0] == 3
    code, out, _ = run(capsys, "retry", batch.job.root, study("a")[:6])
    assert (code, "now made" in out) == (0, True)
    batch.clock.now = time.time() + 1  # the command's clock is the machine's
    assert batch.ledger.claim(Stage.DELIVER) is not None
    code, _, err = run(capsys, "quarantine", batch.job.root, study("a"))
    assert (code, "got delivering" in err) == (4, True)


def test_lift_makes_of_what_is_there_and_leaves_a_trace(batch, capsys):
    mark = Mark("ab" * 32, "cut-off", "door")
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), mark)
    batch.arrive("a")
    assert "ababababab" in (shown := run(capsys, "history", batch.job.root, study("a"))[1])
    assert "not whole" in shown
    code, out, err = run(capsys, "lift", batch.job.root, uid("a"), "--reason", "there is no more")
    assert (code, err) == (0, "")
    assert out == f"lifted {study('a')[:12]}: ready, now ready\n"
    assert batch.ledger.study(study("a")).revision == 2
    (entry,) = [one for one in batch.ledger.history(study("a")) if one.code == "marks-lifted"]
    assert entry.reason == "there is no more"
    assert "@" in entry.actor
    lines = [json.loads(line) for path in sorted(batch.job.audit.glob("*.jsonl")) for line in path.open()]
    told = [line for line in lines if line["event"] in ("mark-lifted", "lifted")]
    assert [line["event"] for line in told] == ["mark-lifted", "lifted"]
    assert all("@" in line["actor"] for line in told)
    assert batch.audit.verify().broken is None
    assert "as a person said" in run(capsys, "history", batch.job.root, study("a"))[1]
    code, out, err = run(capsys, "lift", batch.job.root, study("a"))
    assert (code, out) == (4, "")
    assert "expected marks of what was not taken, got none" in err


def test_dismiss_awaits_a_study_no_longer(batch, capsys):
    batch.clock.now = time.time() - 2 * 3600
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), Mark("ab" * 32, "cut-off", "door"))
    code, out, _ = run(capsys, "status", batch.job.root)
    assert (code, "receiving-stuck" in out, "dismiss" in out) == (3, True, True)
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("a"), "--reason", "cancelled")
    assert (code, out, err) == (0, f"dismissed {study('a')[:12]}: receiving, now gone\n", "")
    assert "cancelled" in run(capsys, "history", batch.job.root)[1]
    batch.arrive("b")
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("b"))
    assert (code, out, "expected one that came to nothing" in err) == (4, "", True)
    assert run(capsys, "verify", batch.job.root)[0] == 0


def test_a_dismissal_that_broke_off_is_ended_by_the_next_one(batch, capsys, monkeypatch):
    batch.clock.now = time.time() - 2 * 3600
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), Mark("ab" * 32, "cut-off", "door"))

    def full(*args, **fields):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append", full)
        code, out, err = run(capsys, "dismiss", batch.job.root, study("a")[:12])
    assert (code != 0, out, "No space" in err) == (True, "", True)
    code, out, _ = run(capsys, "verify", batch.job.root)
    assert (code, "left of a dismissal that broke off; dismiss it again" in out) == (3, True)
    for text in (study("a")[:12], uid("a")):
        assert run(capsys, "history", batch.job.root, text)[0] == 2, "the ledger does not know it"
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("a"))
    assert (code, out, err) == (0, f"dismissed {study('a')[:12]}: receiving, now gone\n", "")
    assert run(capsys, "verify", batch.job.root)[0] == 0
    assert run(capsys, "dismiss", batch.job.root, uid("a"))[0] == 2


def test_lift_wants_a_store(batch, capsys):
    batch.arrive("a")
    batch.spool.folder.rename(batch.spool.folder.with_name("away"))
    code, _, err = run(capsys, "lift", batch.job.root, study("a"))
    assert (code, "expected the store of the batch" in err) == (2, True)


@pytest.mark.parametrize("state", [State.DELIVERED, State.QUARANTINED])
def test_purge_removes_what_ended_long_ago_and_says_so(batch, capsys, state):
    if state is State.DELIVERED:
        batch.deliver("a")
    else:
        batch.make("a")
        batch.ledger.quarantine(study("a"), "set aside")
    batch.arrive("b")
    batch.service.release()
    code, out, err = run(capsys, "purge", batch.job.root, "--days", "30000")
    assert (code, out, err) == (0, "instances of 0 studies removed\nresults of 0 studies removed\n", "")
    assert batch.spool.instances(study("a"))
    results = [path for path in batch.job.results.rglob("*.dcm") if path.is_file()]
    assert results
    code, out, err = run(capsys, "purge", batch.job.root, "--days", "0")
    assert (code, out, err) == (0, "instances of 1 study removed\nresults of 1 study removed\n", "")
    assert not batch.spool.instances(study("a"))
    assert batch.spool.instances(study("b")), "it has not ended"
    assert all(is_stub(path) for path in results)
    lines = [json.loads(line) for path in batch.job.audit.glob("*.jsonl") for line in path.open()]
    purged = [one["event"] for one in lines if one.get("study") == study("a")]
    assert purged[-2:] == ["instances-purged", "results-purged"]
    assert run(capsys, "verify", batch.job.root)[0] == 0


def test_purge_of_one_study_while_the_service_runs(batch, capsys):
    batch.bring(State.REFUSED)
    batch.arrive("b")
    code, out, err = run(capsys, "purge", batch.job.root, uid(State.REFUSED), "--reason", "two contents")
    said = f"removed the instances of {study(State.REFUSED)[:12]}: refused, now refused\n"
    assert (code, out, err) == (0, said, "")
    assert batch.spool.studies() == [study("b")]
    assert "two contents" in run(capsys, "history", batch.job.root, study(State.REFUSED))[1]
    assert batch.audit.verify().broken is None
    code, out, err = run(capsys, "purge", batch.job.root, uid("b"))
    assert (code, out, "expected it at an end, got ready" in err) == (4, "", True)
    batch.arrive(State.REFUSED)
    assert batch.ledger.study(study(State.REFUSED)).state is State.READY
    assert run(capsys, "verify", batch.job.root)[0] == 0


@pytest.mark.parametrize(("arguments", "got"), [([], "nothing"), (["abcd", "--days", "3"], "both")])
def test_purge_wants_studies_or_days(batch, capsys, arguments, got):
    code, _, err = run(capsys, "purge", batch.job.root, *arguments)
    assert (code, f"expected studies or --days, got {got}" in err) == (2, True)


def test_purge_says_what_the_disk_refuses_and_removes_the_rest(batch, capsys, monkeypatch):
    for name in ("a", "b"):
        batch.deliver(name)
    batch.service.release()
    bad = next(batch.job.results.glob(f"{study('a')}/**/*.dcm"))

    def reduce(path):
        if path == bad:
            raise OSError(errno.EIO, "Input/output error", str(path))
        reduce_to_stub(path)

    monkeypatch.setattr("medkit.batch.making.purging.reduce_to_stub", reduce)
    code, out, err = run(capsys, "purge", batch.job.root, "--days", "0")
    assert (code, out, err) == (4, "", f"medkit: {bad}: Input/output error\n")
    assert batch.spool.studies() == []
    assert [path for path in batch.job.results.rglob("*.dcm") if not is_stub(path)] == [bad]


def test_purge_leaves_a_batch_alone_on_which_a_service_works(batch, capsys):
    batch.deliver("a")
    code, out, err = run(capsys, "purge", batch.job.root, "--days", "0")
    assert (code, out, "got one that is running; stop it first" in err) == (2, "", True)
    assert batch.spool.instances(study("a"))


@pytest.mark.parametrize("days", [[], ["--days", "-1"], ["--days", "many"]])
def test_purge_wants_days(batch, capsys, days):
    code, _, err = run(capsys, "purge", batch.job.root, *days)
    assert (code, "--days" in err) == (2, True)


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
        assert (code, "expected a study of this batch, got none" in err) == (2, True)
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
