"""Answers come to who asked, however late the association's own thread is."""

from __future__ import annotations

import time
from threading import Thread

import pytest
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider

from medkit.dicom.network.checkpoint import Checkpoint
from medkit.dicom.network.dimse import DimseArchive
from tests.dicom.network.test_dimse import Keep, archive_of, uids
from tests.servers.dcmtk import storescp_in


@pytest.fixture
def late(monkeypatch):
    """Threads that come to a stop, as on a machine with much to do: the association's own, and later who asks."""
    send = DIMSEServiceProvider.send_msg

    def say(self, paused):
        if not paused:
            time.sleep(0.05)
        vars(self)["paused"] = paused

    monkeypatch.setattr(
        Association, "_is_paused", property(lambda self: vars(self)["paused"], say), raising=False
    )
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", lambda *given: (send(*given), time.sleep(0.1)))


def test_every_file_that_is_sent_is_answered(loopback, study, tmp_path, late):
    with storescp_in(tmp_path / "came") as server:
        answers = DimseArchive("127.0.0.1", server.port, server.ae_title, seconds=5).send(study)
    assert answers == {uids(path)[2]: None for path in study}


def test_every_series_and_instance_that_an_archive_has_is_counted_and_fetched(orthanc, study, late):
    archive = archive_of(orthanc, seconds=5)
    archive.send(study)
    assert archive.counts(uids(study[0])[0]) == {uids(study[0])[1]: len(study)}
    kept = Keep()
    assert archive.retrieve(uids(study[0])[0], kept) == len(kept) == len(study)


class Reactor(Thread):
    """Comes by at a checkpoint again and again, and counts how often it went on."""

    def __init__(self):
        super().__init__(daemon=True)
        self.checkpoint, self.went, self.ended = Checkpoint(self), 0, False

    def run(self):
        while not self.ended:
            self.checkpoint.wait()
            time.sleep(0.01)
            self.went += 1


@pytest.fixture
def reactor():
    thread = Reactor()
    thread.start()
    yield thread
    thread.ended = True
    thread.checkpoint.set()
    thread.join()


def test_nobody_goes_on_after_it_was_cleared(reactor):
    for _ in range(20):
        reactor.checkpoint.clear()
        assert not reactor.checkpoint.is_set()
        before = reactor.went
        time.sleep(0.02)
        assert reactor.went == before
        reactor.checkpoint.set()
    before = reactor.went
    time.sleep(0.1)
    assert reactor.went > before


def test_a_thread_that_ended_or_is_who_calls_is_not_waited_for():
    ended = Reactor()
    ended.checkpoint.clear()
    calls = Thread(target=lambda: None)
    calls.run = lambda: checkpoint.clear()
    checkpoint = Checkpoint(calls)
    calls.start()
    calls.join(5)
    assert not calls.is_alive()
    assert not checkpoint.wait(0.01)
