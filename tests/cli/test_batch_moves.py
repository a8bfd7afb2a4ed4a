"""What a person moves leaves a trace, and what cannot be moved is named."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from pathlib import Path

import pytest

from medkit.batch.ledger import Stage, State
from medkit.batch.marks import Mark
from medkit.batch.service.keeping import purge_study
from medkit.batch.spool import Spool
from medkit.cli.batch import command as group
from medkit.dicom.writing.stubs import is_stub, reduce_to_stub
from tests.batch.status.live import study, uid
from tests.cli.test_batch import run

MADE = "nothing more of it is awaited; should it come after all, it is made"


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


def test_what_may_be_a_part_is_retried_as_the_whole_and_says_so(batch, capsys):
    batch.deliver("a")
    batch.ledger.purged(study("a"))
    batch.spool.discard(study("a"), at_rest=batch.ledger.at_end(study("a")))
    batch.ledger.receive(study("a"))
    batch.spool.store(uid("a"), f"{uid('a')}.2", io.BytesIO(b"another"))
    (arrival,) = batch.ledger.arrivals()
    batch.ledger.complete(arrival, batch.spool.digest(study("a")), 1)
    code, out, err = run(capsys, "retry", batch.job.root, uid("a"))
    assert (code, err) == (0, "")
    assert out == (
        f"retried {study('a')[:12]}: quarantined, now ready; what is there (1 instance, where there had been 1) "
        "counts as the whole study, which its reports will say: if more belongs to it, have all of it sent again\n"
    )


def test_a_retry_of_what_is_not_whole_says_that_it_fails_again(batch, capsys):
    batch.bring(State.QUARANTINED)
    for mark in (Mark(study("x"), "cut-off", "door"), Mark.not_released("CT1")):
        batch.spool.miss(study(State.QUARANTINED), mark)
    code, out, err = run(capsys, "retry", batch.job.root, study(State.QUARANTINED))
    assert (code, err) == (0, "")
    assert out.endswith(
        ": quarantined, now ready; it is still not whole (cut-off, not-released): have that sent, or lift it (medkit "
        "batch lift), or it fails again\n"
    )


def test_what_is_kept_where_no_reason_is_given_reads_as_such(batch, capsys):
    help_text = " ".join(run(capsys, "retry", "--help")[1].split())
    assert "Without it, 'asked for at the command line' is kept." in help_text
    batch.bring(State.REFUSED)
    run(capsys, "retry", batch.job.root, study(State.REFUSED))
    assert batch.ledger.history(study(State.REFUSED))[-1].reason == "asked for at the command line"


def test_what_is_not_there_any_more_is_not_retried_and_says_what_comes_then(batch, capsys):
    batch.bring(State.REFUSED)
    batch.ledger.purged(study(State.REFUSED))
    code, _, err = run(capsys, "retry", batch.job.root, study(State.REFUSED))
    assert (code, "purged; send all of them again first; and then retry\n" in err) == (4, True)
    assert run(capsys, "purge", batch.job.root, study(State.REFUSED))[0] == 0
    code, _, err = run(capsys, "retry", batch.job.root, study(State.REFUSED))
    assert (code, "counts as the whole study, and needs no retry\n" in err) == (4, True)


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
    said = "made, now quarantined; it is no alert any more until medkit batch retry"
    assert (code, out) == (0, f"set aside {study('a')[:12]}: {said}\n")
    assert batch.ledger.claim(Stage.DELIVER) is None
    assert run(capsys, "status", batch.job.root)[0] == 0
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
    assert (code, out, err) == (0, f"dismissed {study('a')[:12]}: receiving, now gone; {MADE}\n", "")
    assert "cancelled" in run(capsys, "history", batch.job.root)[1]
    batch.arrive("b")
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("b"))
    assert (code, out, "got one that is ready, 1 instance stored" in err) == (4, "", True)
    assert run(capsys, "verify", batch.job.root)[0] == 0


def test_a_study_that_was_delivered_before_is_dismissed_to_what_it_was(batch, capsys):
    batch.clock.now = time.time() - 2 * 3600
    batch.deliver("a")
    purge_study(batch.ledger, batch.spool, batch.audit, study("a"), "sent again")
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), Mark("ab" * 32, "cut-off", "door"))
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("a"))
    assert (code, out, err) == (0, f"dismissed {study('a')[:12]}: delivered, now delivered; {MADE}\n", "")
    line = [json.loads(line) for path in sorted(batch.job.audit.glob("*.jsonl")) for line in path.open()][-1]
    assert (line["event"], line["before"], line["after"]) == ("dismissed", "delivered", "delivered")
    assert batch.ledger.study(study("a")).state is State.DELIVERED


def test_a_dismissal_that_broke_off_is_ended_by_the_next_one(batch, capsys, monkeypatch):
    batch.clock.now = time.time() - 2 * 3600
    batch.ledger.receive(study("a"))
    batch.spool.miss(study("a"), Mark("ab" * 32, "cut-off", "door"))

    def full(*args, **fields):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "found", full)
        code, out, err = run(capsys, "dismiss", batch.job.root, study("a")[:12])
    assert (code != 0, out, "No space" in err) == (True, "", True)
    code, out, _ = run(capsys, "verify", batch.job.root)
    assert (code, "broke off; call medkit batch dismiss for it again" in out) == (3, True)
    for text in (study("a")[:12], uid("a")):
        assert run(capsys, "history", batch.job.root, text)[0] == 2, "the ledger does not know it"
    code, out, err = run(capsys, "dismiss", batch.job.root, uid("a"))
    assert (code, out, err) == (0, f"dismissed {study('a')[:12]}: receiving, now gone; {MADE}\n", "")
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
    lines = [json.loads(line) for path in sorted(batch.job.audit.glob("*.jsonl")) for line in path.open()]
    purged = [one["event"] for one in lines if one.get("study") == study("a")]
    assert purged[-2:] == ["instances-purged", "results-purged"]
    assert run(capsys, "verify", batch.job.root)[0] == 0


def test_purge_of_one_study_while_the_service_runs(batch, capsys):
    batch.bring(State.REFUSED)
    batch.arrive("b")
    code, out, err = run(capsys, "purge", batch.job.root, uid(State.REFUSED), "--reason", "two contents")
    then = "what comes next of it counts as the whole study, even a part: have all of it sent again"
    said = f"purged {study(State.REFUSED)[:12]}: refused, now refused; "
    assert (code, out, err) == (0, f"{said}1 instance removed; {then}\n", "")
    code, out, err = run(capsys, "purge", batch.job.root, uid(State.REFUSED))
    assert (code, out, err) == (0, f"{said}no instance of it was left; {then}\n", "")
    assert batch.spool.studies() == [study("b")]
    assert "two contents" in run(capsys, "history", batch.job.root, study(State.REFUSED))[1]
    assert batch.audit.verify().broken is None
    code, out, err = run(capsys, "purge", batch.job.root, uid("b"))
    assert (code, out, "expected it at an end, got ready" in err) == (4, "", True)
    batch.arrive(State.REFUSED)
    assert batch.ledger.study(study(State.REFUSED)).state is State.READY
    assert run(capsys, "verify", batch.job.root)[0] == 0


def test_purge_of_several_studies_names_what_the_disk_refuses_and_removes_the_others(
    batch, capsys, monkeypatch
):
    for name in "abc":
        batch.deliver(name)
    real = Path.rename

    def refused(self, target):
        if self.name == study("b"):
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    code, out, err = run(capsys, "purge", batch.job.root, *map(uid, "abc"))
    assert (code, out.count("1 instance removed")) == (3, 2)
    assert err.startswith(f"medkit: study {study('b')}: ")
    assert err.endswith("Input/output error; look at the disk, and call again for this study\n")
    assert batch.spool.studies() == [study("b")]
    monkeypatch.undo()
    assert run(capsys, "purge", batch.job.root, uid("b"))[0] == 0
    assert batch.spool.studies() == []


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


def test_purge_of_what_is_old_takes_no_reason_that_nobody_would_keep(batch, capsys):
    batch.deliver("a")
    batch.service.release()
    code, out, err = run(capsys, "purge", batch.job.root, "--days", "0", "--reason", "the study is over")
    assert (code, out) == (2, "")
    assert "--reason with studies alone" in err
    assert batch.spool.instances(study("a"))


def test_who_gives_a_reason_is_told_to_name_no_patient():
    asked = [one for command in group.commands.values() for one in command.params if one.name == "reason"]
    assert len(asked) == 5
    for one in asked:
        assert "name no patient" in one.help


@pytest.mark.parametrize("move", ["retry", "quarantine", "lift", "dismiss", "purge"])
def test_nothing_is_done_where_the_audit_log_cannot_be_told(batch, capsys, move):
    batch.bring(State.QUARANTINED)
    batch.arrive("b")
    batch.spool.miss(study(State.QUARANTINED), Mark("ab" * 32, "cut-off", "door"))
    batch.clock.now = time.time() - 2 * 3600
    batch.ledger.receive(study("c"))
    batch.spool.miss(study("c"), Mark("ab" * 32, "cut-off", "door"))
    one = {"quarantine": study("b"), "dismiss": study("c")}.get(move, study(State.QUARANTINED))
    (file,) = batch.job.audit.glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole + b"garbage\n")
    before = (
        batch.ledger.history(),
        batch.ledger.studies(),
        batch.spool.instances(one),
        batch.spool.marks(one),
    )
    code, out, err = run(capsys, move, batch.job.root, one)
    assert (code, out, "move its folder away, and keep it" in err) == (4, "", True)
    after = (
        batch.ledger.history(),
        batch.ledger.studies(),
        batch.spool.instances(one),
        batch.spool.marks(one),
    )
    assert after == before
    file.write_bytes(whole)
    assert run(capsys, move, batch.job.root, one)[0] == 0
