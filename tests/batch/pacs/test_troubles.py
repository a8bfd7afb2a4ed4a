"""An archive that is stopped and started in the middle, and one that has another object under the same UID."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from pydicom import dcmread

from medkit.batch.delivery.deliver import Outcome
from medkit.batch.delivery.destinations import ArchiveDestination
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.pull import Step
from medkit.batch.intake.requests import Request
from medkit.batch.ledger import State
from medkit.dicom.network.content import content_hash
from medkit.dicom.writing import save
from tests.batch.pacs.hospital import PACS, check_delivered, dicom_files, find_all, put_all
from tests.servers.loopback import free_port
from tests.servers.orthanc import orthanc_in


class Switch:
    """An Orthanc that can be stopped, and started again with what it had."""

    def __init__(self, folder):
        self._folder, self._ports, self._running = folder, (free_port(), free_port()), ExitStack()
        self.orthanc = self.start()

    def start(self):
        return self._running.enter_context(orthanc_in(self._folder, self._ports))

    def stop(self):
        self._running.close()


@pytest.fixture
def switch(loopback, tmp_path):
    switch = Switch(tmp_path / "orthanc")
    yield switch
    switch.stop()


class StopsAfter(ArchiveDestination):
    """Whose archive is stopped after it took one object, and before it is asked for it."""

    def __init__(self, archive, switch):
        super().__init__(archive, name=PACS)
        self._switch, self.took = switch, []

    def send(self, objects):
        answers = super().send(objects)
        self.took += [uid for uid, why_not in answers.items() if why_not is None]
        self._switch.stop()
        return answers


def test_an_archive_that_is_stopped_and_started(batch, connect, switch, study, tmp_path):
    archive, sources = connect(switch.orthanc), dicom_files(study)
    put_all(switch.orthanc, sources)
    switch.stop()
    puller = batch.puller(archive, Request(study_uid=dcmread(sources[0]).StudyInstanceUID))
    assert puller.step() is Step.DOWN
    assert batch.ledger.studies() == []
    switch.start()
    assert puller.step() is Step.DOWN, "it is left alone for a while"
    batch.clock.pass_by(61)
    assert puller.step() is Step.PULLED
    assert batch.make().state is State.MADE

    stopping = StopsAfter(archive, switch)
    assert batch.deliver(stopping, together=1) is Outcome.GIVEN_BACK
    assert len(stopping.took) == 1
    record = batch.record
    assert (record.state, record.code, record.attempts) == (State.MADE, "archive-down", 0)
    batch.clock.pass_by(61)
    assert batch.deliver(archive) is Outcome.GIVEN_BACK, "it is down still"
    switch.start()
    batch.clock.pass_by(121)
    assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
    check_delivered(batch, archive, find_all(switch.orthanc, tmp_path / "found"))
    sent = [event["uid"] for event in batch.events() if event["event"] == "object-sending"]
    assert sent.count(stopping.took[0]) == 1, "what it took before it stopped is found there, not sent again"
    assert set(sent) == {one.uid for one in batch.results()}


def test_another_object_under_the_same_uid_is_not_taken_for_ours(batch, connect, orthanc, study, tmp_path):
    take_folder(study, batch.intake)
    assert batch.make().state is State.MADE
    made = batch.results()
    other = dcmread(batch.job.results / made[1].path)
    other.SeriesDescription = "somebody else's"
    save(other, tmp_path / "other.dcm")
    put_all(orthanc, [tmp_path / "other.dcm"])
    archive = connect(orthanc)
    for _ in range(3):
        assert batch.deliver(archive) is Outcome.FAILED
        assert batch.record.code == "read-back-differs"
        batch.clock.pass_by(1000)
    assert batch.record.state is State.QUARANTINED
    found = find_all(orthanc, tmp_path / "found")
    assert found.hash(made[1].uid) == content_hash(tmp_path / "other.dcm"), "nothing is replaced"
    assert {one.uid for one in batch.results() if one.verified_at} < {one.uid for one in made}

    orthanc.ask(f"/instances/{orthanc.ask('/tools/lookup', 'POST', data=made[1].uid)[0]['ID']}", "DELETE")
    batch.ledger.retry(batch.record.study, "the other object was removed")
    assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
    check_delivered(batch, archive, find_all(orthanc, tmp_path / "found"))
