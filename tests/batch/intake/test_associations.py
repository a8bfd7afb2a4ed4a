"""A study is whole when its sender has released the association, and not when nothing more comes of it."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from socket import SHUT_RDWR
from threading import Event, Thread

import pytest
from pydicom import dcmread
from pynetdicom import AE

from medkit.batch.identity import hash_uid
from medkit.batch.intake.associations import Associations
from medkit.batch.intake.lifting import lift_marks
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import LedgerError, State
from medkit.batch.marks import NOT_RELEASED
from medkit.batch.service.parts import make_node
from medkit.batch.service.settings import NodeSettings
from medkit.batch.spool import NotTaken, Spool, SpoolLimits
from medkit.dicom.network.senders import End, Sender
from tests.batch.intake.door import body, events, open_intake, settle_after, write_study
from tests.batch.ledger.stories import STUDY
from tests.dicom.network.takers import eventually

QUIET = 60


class Caller:
    """Brings instances of studies over one association."""

    def __init__(self, intake, clock, ae_title: str = "SCANNER", ends=(End.RELEASE,)) -> None:
        self.intake, self.ends = intake, ends
        self.sender = Sender(ae_title, "10.0.0.7", clock())
        clock.pass_by(1)

    def bring(self, *instances: str, study: str = "1.2.3") -> Caller:
        for instance in instances:
            self.intake.associations.came(study, f"{study}.{instance}", self.sender, self.ends)
            self.intake.take(study, f"{study}.{instance}", body())
        return self

    def end(self, end: End = End.RELEASE) -> None:
        self.intake.associations.ended(self.sender, end, self.ends)


@pytest.fixture
def intake(intake, clock):
    intake.associations = Associations(intake, clock)
    return intake


@pytest.fixture
def caller(intake, clock):
    return lambda *given, **options: Caller(intake, clock, *given, **options)


def codes(intake, study: str = STUDY) -> list[str]:
    return sorted(intake.spool.missing(study).values())


def test_a_study_waits_for_the_release_and_is_whole_then(intake, clock, caller):
    sending = caller().bring("1", "2")
    assert settle_after(intake, clock, QUIET).begun == {}
    sending.end()
    assert codes(intake) == []
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 1}


@pytest.mark.parametrize("end", [End.ABORT, End.SILENCE, End.LOSS])
def test_a_study_whose_sender_broke_off_is_not_whole_until_it_is_sent_again(
    intake, clock, caller, caplog, end
):
    caller().bring("1", "2").end(end)
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 1}
    assert codes(intake) == [NOT_RELEASED]
    assert ("sender-broke-off", NOT_RELEASED) in events(intake)
    ((level, fields),) = [(one.levelname, one.medkit_fields) for one in caplog.records]
    assert level == "WARNING"
    assert (fields["study"], fields["end"]) == (STUDY[:12], end)
    caller().bring("1", "2", "3").end()
    assert codes(intake) == []
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 2}


def test_what_is_sent_again_and_breaks_off_again_is_not_whole(intake, clock, caller):
    for instances in ("1", "2"), ("1",), ("1", "2"):
        caller().bring(*instances).end(End.ABORT)
        settle_after(intake, clock, QUIET)
        assert codes(intake) == [NOT_RELEASED]


def test_a_release_of_an_association_that_ran_beside_the_broken_one_says_nothing_of_that(
    intake, clock, caller, caplog
):
    broken, beside = caller(), caller()
    broken.bring("1")
    beside.bring("2")
    broken.end(End.ABORT)
    clock.pass_by(1)
    caplog.clear()
    beside.end()
    assert codes(intake) == [NOT_RELEASED]
    assert caplog.records == [], "it did not come again"
    settle_after(intake, clock, QUIET)
    assert codes(intake) == [NOT_RELEASED]
    caller().bring("1").end()
    assert codes(intake) == []


def test_a_part_of_what_a_sender_had_brought_does_not_make_up_for_the_break(intake, clock, caller, caplog):
    caller().bring("1", "2", "3").end(End.LOSS)
    settle_after(intake, clock, QUIET)
    caplog.clear()
    caller().bring("2").end()
    assert codes(intake) == [NOT_RELEASED]
    ((text, fields),) = [
        (one.message, one.medkit_fields) for one in caplog.records if one.levelname == "WARNING"
    ]
    assert "came again with a part of what it had brought" in text
    assert (fields["study"], fields["ae_title"]) == (STUDY[:12], "SCANNER")
    caller().bring("1").bring("1", study="1.2.4")
    settle_after(intake, clock, QUIET)
    assert codes(intake) == [NOT_RELEASED], "nor where it went on to another study"


@pytest.mark.parametrize(
    ("again", "left"),
    [
        (["4"], [NOT_RELEASED]),
        (["3", "4", "5", "6"], [NOT_RELEASED]),
        (["1", "2", "3"], []),
        (["1", "2", "3", "4"], []),
    ],
    ids=["another one", "the last one and others", "all of it", "all and more"],
)
def test_a_sender_makes_up_for_its_break_by_all_of_what_it_had_brought(intake, clock, caller, again, left):
    """What is new may be another series, or a report, and the rest of the first lost for ever."""
    caller().bring("1", "2", "3").end(End.LOSS)
    settle_after(intake, clock, QUIET)
    caller().bring(*again).end()
    assert codes(intake) == left
    assert [event for event, _ in events(intake)].count("sender-came-again") == (not left)


def test_an_image_an_association_makes_up_for_the_break_once_all_came_again(intake, clock, caller):
    caller().bring("1", "2", "3").end(End.LOSS)
    for instance, left in (("1", [NOT_RELEASED]), ("2", [NOT_RELEASED]), ("3", [])):
        clock.pass_by(1)
        caller().bring(instance).end()
        assert codes(intake) == left
    caller().bring("3").end()
    assert codes(intake) == [], "it is as if nothing had broken off"


def test_what_comes_again_over_two_associations_counts_together(intake, clock, caller):
    caller().bring("1", "2", "3", "4").end(End.LOSS)
    clock.pass_by(1)
    one, other = caller().bring("1", "2"), caller().bring("3", "4")
    other.end()
    assert codes(intake) == [NOT_RELEASED]
    one.end()
    assert codes(intake) == []


def test_after_two_breaks_all_is_due_that_both_had_brought(intake, clock, caller):
    caller().bring("1", "2").end(End.LOSS)
    clock.pass_by(1)
    caller().bring("2", "3").end(End.LOSS)
    clock.pass_by(1)
    caller().bring("2", "3").end()
    assert codes(intake) == [NOT_RELEASED]
    caller().bring("1", "2", "3").end()
    assert codes(intake) == []


@pytest.mark.parametrize(
    ("again", "left"), [(["1", "2"], []), (["1", "2", "3"], []), (["2", "3"], [NOT_RELEASED])]
)
def test_a_loss_that_is_noticed_after_all_came_again_is_made_up_for(intake, clock, caller, again, left):
    lost = caller().bring("1", "2")
    clock.pass_by(1)
    caller().bring(*again).end()
    assert codes(intake) == [NOT_RELEASED], "the other may still bring more"
    lost.end(End.LOSS)
    assert codes(intake) == left
    assert (("sender-broke-off", NOT_RELEASED) in events(intake)) == bool(left)


@pytest.mark.parametrize("end", [End.RELEASE, End.LOSS])
def test_what_came_beside_makes_up_for_no_loss_where_it_had_begun_before_or_broke_off_too(
    intake, clock, caller, end
):
    lost = caller().bring("1")
    if end is End.LOSS:
        clock.pass_by(1)
        caller().bring("1", "2").end(end)
    else:
        beside = caller()
        lost.bring("2")
        beside.bring("1", "2").end(end)
    lost.end(End.LOSS)
    assert codes(intake) == [NOT_RELEASED]


def test_what_others_bring_makes_up_for_nothing(intake, clock, caller):
    broken, beside = caller(), caller()
    broken.bring("1", "2").end(End.LOSS)
    clock.pass_by(1)
    beside.bring("1", "2", "3").end()
    caller("PACS").bring("1", "2", "3", "4").end()
    caller().bring("3", "4").end()
    assert codes(intake) == [NOT_RELEASED]
    caller().bring("1", "2").end()
    assert codes(intake) == []


@pytest.mark.parametrize("what", ["lifted", "purged"])
def test_what_a_person_ended_is_no_break_any_more(intake, clock, caller, what):
    caller().bring("1", "2").end(End.ABORT)
    settle_after(intake, clock, QUIET)
    if what == "lifted":
        lift_marks(intake, STUDY, "the scanner aborts always", NOT_RELEASED)
    else:
        intake.spool.discard(STUDY, nullcontext())
    caller().bring("1").end()
    assert codes(intake) == []


def test_what_a_caller_left_is_remembered_while_it_is_made_up_for(intake, clock, caller):
    caller().bring("1", "2").end(End.LOSS)
    clock.pass_by(1)
    sending = caller().bring("1")
    clock.pass_by(2 * 86400)
    caller("PACS").bring("1", study="1.2.4").end(End.LOSS)
    sending.end()
    assert codes(intake) == [NOT_RELEASED]
    clock.pass_by(2 * 86400)
    caller("PACS").bring("1", study="1.2.5").end(End.LOSS)
    caller().bring("2").end()
    assert codes(intake) == [NOT_RELEASED], "it was looked up anew"
    caller().bring("1", "2").end()
    assert codes(intake) == []


def test_of_associations_side_by_side_the_last_release_counts(intake, clock, caller):
    first, second = caller(), caller()
    first.bring("1")
    second.bring("2")
    first.end()
    assert codes(intake) == [NOT_RELEASED]
    assert settle_after(intake, clock, QUIET).begun == {}
    second.end()
    assert codes(intake) == []


def test_another_caller_takes_no_mark_away(intake, caller):
    caller("SCANNER").bring("1", "2").end(End.LOSS)
    caller("PACS").bring("1", "2").end()
    assert [mark.caller for mark in intake.spool.marks(STUDY)] == ["SCANNER"]


def test_what_was_all_there_stays_so_when_a_part_is_sent_again_and_breaks_off(intake, clock, caller):
    caller().bring("1", "2").end()
    settle_after(intake, clock, QUIET)
    caller().bring("1").end(End.ABORT)
    assert codes(intake) == []
    assert settle_after(intake, clock, QUIET).unchanged == (STUDY,)
    caller().bring("3").end(End.ABORT)
    assert codes(intake) == [NOT_RELEASED]


def test_what_was_all_there_stays_so_while_another_caller_sends_it_too(intake, clock, caller):
    caller().bring("1", "2").end()
    settle_after(intake, clock, QUIET)
    broken, other = caller("SCANNER").bring("1"), caller("PACS").bring("2")
    broken.end(End.ABORT)
    other.end()
    assert codes(intake) == []
    assert settle_after(intake, clock, QUIET).unchanged == (STUDY,)


def test_what_is_sent_again_on_a_low_disk_changes_nothing_of_what_was_all_there(intake, clock, caller):
    caller().bring("1", "2").end()
    settle_after(intake, clock, QUIET)
    intake.spool.limits = SpoolLimits(free_bytes=1 << 60)
    sending = caller()
    with pytest.raises(NotTaken, match="free"):
        sending.bring("1")
    sending.end()
    assert codes(intake) == []
    assert settle_after(intake, clock, QUIET).unchanged == (STUDY,)


@pytest.mark.parametrize("error", [OSError("disk"), LedgerError("locked")])
def test_a_release_that_cannot_be_noted_for_one_study_is_noted_for_the_others_and_later_for_that(
    intake, clock, caller, monkeypatch, error
):
    others = [hash_uid(f"1.2.{number}") for number in (4, 5)]
    sending = caller().bring("1", study="1.2.4").bring("1").bring("1", study="1.2.5")
    with monkeypatch.context() as patch:

        def end(study, mark):
            if study == STUDY:
                raise error
            Intake.end(intake, study, mark)

        patch.setattr(intake, "end", end)
        with pytest.raises(type(error), match=str(error)):
            sending.end()
    assert [codes(intake, study) for study in (STUDY, *others)] == [[NOT_RELEASED], [], []]
    assert set(settle_after(intake, clock, QUIET).begun) == {STUDY, *others}
    assert codes(intake) == []


def test_a_sender_that_went_on_to_another_study_has_sent_all_of_the_one_before(intake, clock, caller):
    sending = caller().bring("1", "2").bring("1", study="1.2.4")
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 1}
    assert codes(intake) == []
    sending.end(End.LOSS)
    assert codes(intake) == [], "it was complete"
    assert codes(intake, hash_uid("1.2.4")) == [NOT_RELEASED]
    settle_after(intake, clock, QUIET)
    assert intake.ledger.study(STUDY).revision == 1


def test_a_sender_that_goes_on_for_long_has_sent_what_rests_for_a_long_quiet_time(intake, clock, caller):
    sending, begun = caller().bring("1", "2"), {}
    for _ in range(10):
        begun |= settle(intake, 900).begun
        clock.pass_by(100)
        sending.bring("1", study="1.2.4")
    begun |= settle(intake, 900).begun
    assert (codes(intake), begun) == ([], {STUDY: 1})


def test_who_went_on_to_another_study_says_nothing_of_what_an_association_beside_may_still_bring(
    intake, clock, caller
):
    caller().bring("1")
    clock.pass_by(500)
    caller().bring("2").bring("1", study="1.2.4")
    assert STUDY not in settle_after(intake, clock, QUIET).begun
    assert STUDY in settle_after(intake, clock, QUIET).begun
    assert codes(intake) == [NOT_RELEASED]


def test_more_of_a_study_that_was_complete_marks_it_again(intake, clock, caller):
    sending = caller().bring("1").bring("1", study="1.2.4")
    settle_after(intake, clock, QUIET)
    sending.bring("2")
    assert codes(intake) == [NOT_RELEASED]
    sending.end(End.ABORT)
    assert codes(intake) == [NOT_RELEASED]


def test_ends_that_a_node_is_told_to_take_for_a_release(intake, clock, caller):
    caller(ends=(End.RELEASE, End.ABORT)).bring("1").end(End.ABORT)
    assert codes(intake) == []
    caller(ends=(End.RELEASE, End.ABORT)).bring("2").end(End.LOSS)
    assert codes(intake) == [NOT_RELEASED]


def test_silence_that_is_an_end_is_not_waited_for(intake, clock, caller):
    sending = caller(ends=(End.RELEASE, End.SILENCE)).bring("1")
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 1}
    assert codes(intake) == []
    sending.end(End.LOSS)
    assert codes(intake) == []


def test_an_end_that_is_never_told_is_not_awaited_for_ever_and_makes_no_whole(intake, clock, caller):
    caller().bring("1")
    assert settle_after(intake, clock, 599).begun == {}
    assert settle_after(intake, clock, QUIET).begun == {STUDY: 1}
    assert codes(intake) == [NOT_RELEASED]


def test_a_node_that_was_killed_leaves_the_mark_until_the_study_is_sent_again(
    intake, tmp_path, clock, caller
):
    caller().bring("1", "2")
    after = tmp_path / "after"
    shutil.copytree(tmp_path / "job", after)
    again = open_intake(after, clock, "another")
    again.associations = Associations(again, clock)
    assert settle_after(again, clock, QUIET).begun == {STUDY: 1}
    assert codes(again) == [NOT_RELEASED]
    Caller(again, clock).bring("2").end()
    assert codes(again) == [NOT_RELEASED], "nobody knows any more which of them had come last"
    Caller(again, clock).bring("1", "2").end()
    assert codes(again) == []
    assert settle_after(again, clock, QUIET).begun == {STUDY: 2}
    again.ledger.close()


def test_a_person_may_say_that_it_is_whole(intake, clock, caller):
    caller().bring("1", "2").end(End.ABORT)
    settle_after(intake, clock, QUIET)
    assert lift_marks(intake, STUDY, "the scanner aborts always", NOT_RELEASED) == 1
    assert codes(intake) == []
    assert intake.ledger.study(STUDY).state is State.READY


def test_associations_that_bring_nothing_of_a_study_mark_none(intake, caller):
    caller().end(End.ABORT)
    caller().bring(study="1.2.3").end(End.ABORT)
    intake.associations.came("", "1.2.3", caller().sender)
    assert intake.spool.studies() == []


def associated(node, dataset):
    entity = AE("SCANNER")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", node.port, ae_title="MEDKIT")
    assert association.is_established
    return association


def send(node, datasets):
    association = associated(node, datasets[0])
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == 0
    return association


def lost(association) -> None:
    """Have the connection break off without a word."""
    association.dul.socket.socket.close()


@pytest.mark.parametrize("broken", ["abort", "loss"])
def test_a_real_sender_that_breaks_off_after_its_second_slice(tmp_path, clock, broken):
    intake = open_intake(tmp_path / "job", clock)
    study = write_study(tmp_path / "in")
    datasets = [dcmread(path) for path in study.paths]
    settings = NodeSettings("MEDKIT", ("SCANNER",), {"port": 0})
    with make_node(settings, intake) as node:
        association = send(node, datasets[:2])
        assert settle_after(intake, clock, QUIET).begun == {}, "it may send more"
        association.abort() if broken == "abort" else lost(association)
        assert eventually(lambda: ("sender-broke-off", NOT_RELEASED) in events(intake))
        assert settle(intake, QUIET).begun == {study.hash: 1}
        assert codes(intake, study.hash) == [NOT_RELEASED]
        send(node, datasets[:1]).release()
        assert codes(intake, study.hash) == [NOT_RELEASED]
        send(node, datasets).release()
        assert codes(intake, study.hash) == []
        assert settle_after(intake, clock, QUIET).begun == {study.hash: 2}
    intake.ledger.close()


def test_a_break_is_told_of_all_that_came_when_it_was_stored(tmp_path, clock):
    """A sender that waits in vain for an answer breaks off while its instance is being stored."""
    intake = open_intake(tmp_path / "job", clock)
    study = write_study(tmp_path / "in")
    datasets = [dcmread(path) for path in study.paths]
    storing, may_end = Event(), Event()

    def store(*given):
        storing.set()
        assert may_end.wait(20)
        return Spool.store(intake.spool, *given)

    with make_node(NodeSettings("MEDKIT", ("SCANNER",), {"port": 0}), intake) as node:
        send(node, datasets[:-1]).release()
        assert settle_after(intake, clock, QUIET).begun == {study.hash: 1}
        association = associated(node, datasets[-1])
        intake.spool.store = store
        sending = Thread(target=association.send_c_store, args=(datasets[-1],))
        sending.start()
        assert storing.wait(20)
        association.dul.socket.socket.shutdown(SHUT_RDWR)
        assert eventually(lambda: End.LOSS in node._senders._ends.values())
        may_end.set()
        sending.join()
        assert eventually(lambda: ("sender-broke-off", NOT_RELEASED) in events(intake))
    assert codes(intake, study.hash) == [NOT_RELEASED]
    assert settle_after(intake, clock, QUIET).begun == {study.hash: 2}
    intake.ledger.close()


def test_a_node_whose_callers_end_by_an_abort(tmp_path, clock):
    intake = open_intake(tmp_path / "job", clock)
    study = write_study(tmp_path / "in")
    settings = NodeSettings("MEDKIT", ("SCANNER",), {"port": 0}, ends=("abort",))
    with make_node(settings, intake) as node:
        send(node, [dcmread(path) for path in study.paths]).abort()
        assert eventually(lambda: codes(intake, study.hash) == [])
        assert settle_after(intake, clock, QUIET).begun == {study.hash: 1}
    intake.ledger.close()
