"""Associations: titles are checked before anybody is called, and what comes of them says whether to try again."""

from __future__ import annotations

import socket
import time

import pytest
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import Verification

from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.association import Peer, check_answered
from medkit.dicom.network.node import NodeLimits, StorageNode
from medkit.dicom.network.syntaxes import PLAIN
from medkit.errors import UsageError
from tests.dicom.network.takers import Taken

ECHO = [(Verification, PLAIN)]


def test_an_association_sends_at_once_and_waits_for_so_long():
    with StorageNode("MEDKIT", Taken(), ["US"], port=0) as node:
        peer = Peer("127.0.0.1", node.port, "MEDKIT", "US", seconds=7)
        with peer.associated(ECHO) as association:
            used = association.dul.socket.socket
            assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert used.gettimeout() == 7
        assert association.is_released


def test_a_block_that_fails_aborts_it():
    ends = []
    with StorageNode("MEDKIT", Taken(), ["US"], port=0) as node:
        peer = Peer("127.0.0.1", node.port, "MEDKIT", "US")
        with (
            pytest.raises(ZeroDivisionError),
            peer.associated(ECHO, handlers=[(evt.EVT_ABORTED, ends.append)]),
        ):
            raise ZeroDivisionError
    assert len(ends) == 1


def test_no_room_is_down_and_a_stranger_is_refused():
    with StorageNode("MEDKIT", Taken(), ["US"], port=0, limits=NodeLimits(associations=1)) as node:
        peer = Peer("127.0.0.1", node.port, "MEDKIT", "US")
        with (
            peer.associated(ECHO),
            pytest.raises(ArchiveDown, match="try again later"),
            peer.associated(ECHO),
        ):
            pass
        stranger = Peer("127.0.0.1", node.port, "MEDKIT", "THEM")
        with pytest.raises(ArchiveRefused, match="does not know our AE title"), stranger.associated(ECHO):
            pass


def test_a_rejection_is_told_however_soon_it_comes():
    def dawdle(event):  # until the rejection has come and the connection is closed
        time.sleep(0.5)

    with StorageNode("MEDKIT", Taken(), ["US"], port=0) as node:
        stranger = Peer("127.0.0.1", node.port, "MEDKIT", "THEM")
        with (
            pytest.raises(ArchiveRefused, match="does not know our AE title"),
            stranger.associated(ECHO, handlers=[(evt.EVT_REQUESTED, dawdle)]),
        ):
            pass


def test_one_that_never_answers_is_down():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("127.0.0.1", silent.getsockname()[1], "PACS", "US", seconds=0.3)
        with pytest.raises(ArchiveDown, match="nobody who answers"), peer.associated(ECHO):
            pass


@pytest.mark.parametrize(("theirs", "ours"), [("", "US"), ("PACS", "A" * 17)])
def test_titles_that_are_none_are_refused(theirs, ours):
    with pytest.raises(UsageError, match="AE title"):
        Peer("127.0.0.1", 104, theirs, ours)


def test_an_answer_without_a_status_is_down():
    peer, answer = Peer("127.0.0.1", 104, "PACS", "US"), Dataset()
    with pytest.raises(ArchiveDown, match="broke off"):
        check_answered(peer, answer, "C-ECHO")
    answer.Status = 0xB000
    assert check_answered(peer, answer, "C-ECHO") == 0xB000
    answer.Status = 0xA7FF
    with pytest.raises(ArchiveDown, match="out of resources"):
        check_answered(peer, answer, "C-ECHO")
