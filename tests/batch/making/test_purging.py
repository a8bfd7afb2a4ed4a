"""Of results whose time is over no patient is left, and what has to be withdrawn still can be."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import IllegalTransition, LedgerError, Result, Stage, State
from medkit.batch.making import make_study, purge_results, purging, remove_debris
from medkit.dicom.network.rejection import write_rejection_note
from medkit.dicom.objects import read_uids
from medkit.dicom.writing.stubs import is_stub, reduce_to_stub
from tests.batch.ledger.stories import locked
from tests.batch.making.studies import PATIENT, claimed, deliver
from tests.traced_memory import peak_bytes

DAY = 86400


@pytest.fixture
def delivered(desk, study):
    """A study that is made and delivered, with a note beside a result; its objects, by the name of their file."""
    ended = make_study(claimed(desk, study), desk.context)
    deliver(desk, ended)
    paths = desk.made()
    write_rejection_note(paths[0])
    return {path: read_uids(path) for path in paths}


def purge(desk, tell=lambda study: None):
    return purge_results(desk.context.results, desk.ledger, 30 * DAY, desk.clock, tell)


def test_nothing_goes_before_its_time(desk, delivered):
    before = {path: path.read_bytes() for path in desk.made()}
    desk.clock.pass_by(29 * DAY)
    assert purge(desk) == []
    assert {path: path.read_bytes() for path in desk.made()} == before


def test_class_and_uids_are_left(desk, delivered):
    assert len(delivered) == 3
    desk.clock.pass_by(31 * DAY)
    (study,) = (record.study for record in desk.ledger.studies())
    assert purge(desk) == [study]
    left = {path for path in desk.made() if path.suffix == ".dcm"}
    assert left == set(delivered)
    for path in left:
        assert is_stub(path)
        assert read_uids(path) == delivered[path]
        content = path.read_bytes()
        assert len(content) < 2000
        names = [word for word in PATIENT[:-1] if word.encode() in content.replace(b"medkit", b"")]
        assert names == []
    assert purge(desk) == [], "once"


def test_a_result_that_the_disk_has_damaged_is_removed_and_told(desk, delivered, caplog):
    desk.clock.pass_by(31 * DAY)
    damaged, *others = sorted(delivered)
    damaged.write_bytes(b"garbage that may name a patient")
    (study,) = (record.study for record in desk.ledger.studies())
    with caplog.at_level("WARNING", "medkit.batch"):
        assert purge(desk) == [study]
    assert sorted(desk.context.results.rglob("*.dcm")) == others
    assert all(is_stub(path) for path in others)
    (line,) = caplog.records
    name = damaged.relative_to(desk.context.results)
    assert line.getMessage() == f"{name} cannot be read and was removed; look at the disk"
    assert line.medkit_fields == {"study": study[:12]}
    assert purge(desk) == [], "once"
    (desk.context.results / study / "purged").write_bytes(b"\xff\xfe")
    assert purge(desk) == [study], "the mark itself may be damaged"


def test_a_note_goes_though_a_person_removed_its_result(desk, delivered):
    desk.clock.pass_by(31 * DAY)
    (note,) = desk.context.results.rglob("*.rejection.dcm")
    note.with_name(note.name.replace(".rejection", "")).unlink()
    assert len(purge(desk)) == 1
    assert not note.exists()


def test_a_file_that_the_disk_does_not_give_out_keeps_no_other_from_going(desk, delivered, monkeypatch):
    desk.clock.pass_by(31 * DAY)
    (study,) = (record.study for record in desk.ledger.studies())
    bad, *others = sorted(delivered)
    whole, told = bad.read_bytes(), []

    def reduce(path):
        if path == bad:
            raise OSError(errno.EIO, "Input/output error", str(path))
        reduce_to_stub(path)

    with monkeypatch.context() as patched:
        patched.setattr(purging, "reduce_to_stub", reduce)
        for _ in range(2):
            with pytest.raises(OSError, match=bad.name):
                purge(desk, told.append)
    assert all(is_stub(path) for path in others)
    assert (bad.read_bytes(), told) == (whole, []), "it is tried again"
    assert purge(desk, told.append) == told == [study]
    assert is_stub(bad)


def test_a_damaged_study_keeps_no_other_from_being_purged(desk):
    """Whichever of the two comes first."""
    hashes = [hash_uid(f"1.2.{number}") for number in range(2)]
    for one in hashes:
        desk.ledger.receive(one)
        (arrival,) = desk.ledger.arrivals()
        desk.ledger.complete(arrival, "0" * 64, 1)
        desk.ledger.refuse(desk.ledger.claim(Stage.MAKE), "gap", "a gap")
        (desk.context.results / one).mkdir(parents=True)
    desk.clock.pass_by(31 * DAY)
    for bad, other in (hashes, hashes[::-1]):
        (desk.context.results / bad / "purged").mkdir()  # the mark cannot be written
        told = []
        with pytest.raises(OSError, match="purged"):
            purge(desk, told.append)
        assert other in told
        (desk.context.results / bad / "purged").rmdir()
        (desk.context.results / other / "purged").unlink()


def test_a_crash_before_it_is_noted_has_it_told_again(desk, delivered):
    desk.clock.pass_by(31 * DAY)
    (study,) = (record.study for record in desk.ledger.studies())
    told = []

    def killed(one):
        told.append(one)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purge(desk, killed)
    assert purge(desk, told.append) == [study]
    assert told == [study, study]


def test_results_of_years_are_gone_through_in_no_more_memory_than_those_of_a_day(tmp_path):
    """Every hour, in a service that is to run for months."""

    def look(days):
        results = tmp_path / str(days)
        for number in range(100 * days):
            (results / hash_uid(f"1.{number}") / "1" / "1").mkdir(parents=True)
        return peak_bytes(
            lambda: (remove_debris(results, Remembering()), purge_results(results, Remembering(), 0))
        )

    look(1)  # what is made once
    assert look(20) < 2 * look(2)
    assert len(list((tmp_path / "20").glob("*/1/1"))) == 2000


class Remembering:
    """A ledger that knows of all results, each of which waits to be delivered."""

    def reading(self):
        return nullcontext()

    def find(self, study):
        return [study]

    def study(self, study):
        return SimpleNamespace(study=study, state=State.MADE, revision=1, ended=False, since=0.0)

    def results(self, study, revision):
        return [Result("2.25.1", "out", "0" * 64, f"{study}/{revision}/1/bundle/seg.dcm")]


def test_what_is_not_finished_stays(desk, study):
    make_study(claimed(desk, study), desk.context)
    desk.clock.pass_by(31 * DAY)
    assert purge(desk) == []
    assert not any(is_stub(path) for path in desk.made())
    assert purge_results(desk.folder / "none", desk.ledger, 0, desk.clock) == []


@pytest.fixture
def set_aside(desk, study):
    """A study whose objects were sent, read back as others, and which waits for a person; its hash."""
    ended = make_study(claimed(desk, study), desk.context)
    for _ in range(desk.ledger.policy.attempts):
        claim = desk.ledger.claim(Stage.DELIVER)
        for one in ended.results if claim.attempt == 1 else ():
            desk.ledger.sending(claim, one.uid, one.destination)
            desk.ledger.sent(claim, one.uid, one.destination)
        desk.ledger.fail(claim, "read-back-differs", "another content")
        desk.clock.pass_by(3600)
    return claim.study


def test_what_was_set_aside_and_forgotten_names_nobody_either(desk, set_aside):
    desk.clock.pass_by(29 * DAY)
    assert purge(desk) == []
    assert desk.ledger.study(set_aside).state is State.QUARANTINED
    assert not any(is_stub(path) for path in desk.made())
    desk.clock.pass_by(2 * DAY)
    assert purge(desk) == [set_aside]
    assert all(is_stub(path) for path in desk.made() if path.suffix == ".dcm")
    assert purge(desk) == [], "once"
    assert desk.ledger.faults() == []


def test_of_what_was_set_aside_no_stub_is_ever_delivered(desk, set_aside):
    """Retried, it is made anew: the same objects, which go on from where they were."""
    before = desk.ledger.results(set_aside, 1)
    whole = {path.name: path.read_bytes() for path in desk.made()}
    desk.clock.pass_by(31 * DAY)
    purge(desk)
    assert desk.ledger.retry(set_aside, "the archive was mended") is State.READY
    make_study(desk.ledger.claim(Stage.MAKE), desk.context)
    record = desk.ledger.study(set_aside)
    assert (record.state, record.revision) == (State.MADE, 2)
    after = desk.ledger.results(set_aside, 2)
    assert [(one.uid, one.sha256) for one in after] == [(one.uid, one.sha256) for one in before]
    assert all(one.delivered_at for one in after)
    for one in after:
        path = desk.context.results / one.path
        assert path.read_bytes() == whole[path.name]
    assert desk.ledger.withdrawals() == []


def test_what_was_set_aside_without_its_instances_has_to_come_again(desk, set_aside):
    desk.clock.pass_by(31 * DAY)
    desk.ledger.purged(set_aside)
    purge(desk)
    with pytest.raises(IllegalTransition, match="its instances were purged; send all of them again first"):
        desk.ledger.retry(set_aside, "the archive was mended")


def test_what_a_person_retries_while_it_is_looked_at_is_not_purged(desk, set_aside, monkeypatch):
    desk.clock.pass_by(31 * DAY)
    withdrawals = desk.ledger.withdrawals

    def retried_meanwhile(study):
        monkeypatch.undo()
        desk.ledger.retry(study, "the archive was mended")
        return withdrawals(study)

    monkeypatch.setattr(desk.ledger, "withdrawals", retried_meanwhile)
    assert purge(desk) == []
    assert desk.ledger.study(set_aside).state is State.MADE
    assert not any(is_stub(path) for path in desk.made())


def test_a_ledger_that_cannot_be_written_is_told(desk, delivered):
    (desk.context.results / "of a person").mkdir()
    (desk.context.results / hash_uid("of nobody")).mkdir()
    desk.clock.pass_by(31 * DAY)
    with locked(desk.ledger), pytest.raises(LedgerError, match="database is locked"):
        purge(desk)
    assert not any(is_stub(path) for path in desk.made())
    assert len(purge(desk)) == 1


def test_what_is_refused_and_then_delivered_is_purged_once_more(desk, study):
    claim = claimed(desk, study)
    desk.ledger.refuse(claim, "gap", "a gap")
    (desk.context.results / claim.study).mkdir(parents=True)
    desk.clock.pass_by(31 * DAY)
    assert purge(desk) == [claim.study]
    desk.ledger.retry(claim.study, "it may have one")
    ended = make_study(desk.ledger.claim(Stage.MAKE), desk.context)
    deliver(desk, ended)
    desk.clock.pass_by(31 * DAY)
    assert purge(desk) == [claim.study]
    assert all(is_stub(path) for path in desk.made() if path.suffix == ".dcm")


def test_of_another_revision_again(desk, delivered):
    desk.clock.pass_by(31 * DAY)
    assert len(purge(desk)) == 1
    study = next(record.study for record in desk.ledger.studies())
    desk.ledger.receive(study)
    desk.clock.pass_by(31 * DAY)
    assert purge(desk) == [], "something comes"
    (arrival,) = desk.ledger.arrivals()
    desk.ledger.complete(arrival, "0" * 64, 1)
    desk.ledger.refuse(desk.ledger.claim(Stage.MAKE), "gap", "a gap")
    desk.clock.pass_by(31 * DAY)
    assert purge(desk) == [], "its objects have to be withdrawn"
    for due in desk.ledger.withdrawals():
        desk.ledger.withdrawing(due.study, due.uid, due.destination)
        desk.ledger.withdrawn(due.study, due.uid, due.destination)
    assert purge(desk) == [study]
