"""Whoever ends an association, and however: what was on its way is told, once, and of the study that it names."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest

from medkit.dicom.network.node import NodeLimits
from tests.dicom.network import raw_caller
from tests.dicom.network.raw_caller import COMMAND, LAST, fragment, is_aborted, requests, send_in_pieces
from tests.dicom.network.takers import eventually, node

LONG_PDU = 2 << 20


def keep(told: list):
    return lambda *what: told.append(what)


def beginning(data: bytes, length: int = LONG_PDU) -> bytes:
    """A P-DATA-TF PDU that says it is longer, and holds only this much and zeros."""
    head = fragment(data, LAST)[12:]
    return struct.pack(">BBIIBB", 4, 0, length + 6, length + 2, 1, LAST) + head + bytes(length - len(head))


@pytest.mark.parametrize("limits", [{"instance_bytes": 100_000}, {"held_bytes": 100_000}], ids=str)
@pytest.mark.parametrize("size", [300_000, 130_000], ids=["in pieces", "in one"])
def test_what_a_limit_keeps_out_is_told(taken, limits, size):
    told = []
    with node(taken, limits=NodeLimits(**limits), cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(fragment(raw_caller.command("1.2.3.4"), COMMAND | LAST))
            caller.sendall(fragment(raw_caller.data_set("1.2.3.4"), LAST))
            assert caller.recv(1000)[0] == 4
            send_in_pieces(
                caller, raw_caller.command("1.2.3.5", 2), raw_caller.data_set("1.2.3.5", size), 65_000
            )
            assert is_aborted(caller)
    assert set(told) == {("1.2.3", "1.2.3.5", "too-large" if "instance_bytes" in limits else "cut-off")}


def test_of_callers_together_an_instance_of_which_nothing_came_is_told_by_its_request(taken, busy):
    told = []
    limits = NodeLimits(held_bytes=100_000)
    with node(busy, limits=limits, cut_off=keep(told)) as listening:
        first, _ = raw_caller.ask(listening.port)
        with first:
            first.sendall(requests(1, 60_000))
            assert eventually(lambda: listening._being_taken)
            second, _ = raw_caller.ask(listening.port)
            with second:
                second.sendall(fragment(raw_caller.command("1.2.3.5"), COMMAND | LAST))
                second.sendall(fragment(raw_caller.data_set("1.2.3.5", 60_000), LAST))
                # Of the third only the request is there when it is cut off.
                second.sendall(fragment(raw_caller.command("1.2.3.6", 2), COMMAND | LAST))
                second.sendall(fragment(raw_caller.data_set("1.2.3.6", 100), LAST))
                assert is_aborted(second)
            busy.may_end.set()
    assert ("1.2.3", "1.2.3.6", "cut-off") in told


def test_requests_that_wait_when_their_caller_is_cut_off_are_told(busy):
    told = []
    with node(busy, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(requests(30, 0))
            assert is_aborted(caller)
    assert set(told) == {("1.2.3", "1.2.3.4", "cut-off")}


def ended(listening, caller, *parts: bytes) -> None:
    """Send, as far as it gets, and wait until the node has let go of the caller."""
    with caller:
        with suppress(ConnectionError):
            for part in parts:
                caller.sendall(part)
        assert is_aborted(caller)
    assert eventually(lambda: not listening._server.active_associations)


WHOLE = fragment(raw_caller.command("1.2.3.4"), COMMAND | LAST) + fragment(
    raw_caller.data_set("1.2.3.4"), LAST
)
ASKED = fragment(raw_caller.command("1.2.3.5", 2), COMMAND | LAST)


def test_a_pdu_beyond_the_limit_tells_of_the_instance_that_it_begins(taken, caplog):
    told = []
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        ended(listening, caller, ASKED, beginning(raw_caller.data_set("1.2.3.5", 100)))
    assert told == [("1.2.3", "1.2.3.5", "cut-off")]
    assert taken.files == {}
    assert f"expected PDUs of at most {1 << 20} bytes, got more" in caplog.text


def test_a_pdu_beyond_the_limit_with_a_whole_instance_and_half_a_one(taken):
    told = []
    first = [raw_caller.command("1.2.3.4"), raw_caller.data_set("1.2.3.4"), raw_caller.command("1.2.3.5", 2)]
    items = b"".join(
        struct.pack(">IBB", len(one) + 2, 1, control) + one
        for one, control in zip(first, [COMMAND | LAST, LAST, COMMAND | LAST], strict=True)
    )
    length = len(items) + LONG_PDU
    last = raw_caller.data_set("1.2.3.5", LONG_PDU)[: LONG_PDU - 6]
    pdu = struct.pack(">BBI", 4, 0, length) + items + struct.pack(">IBB", LONG_PDU - 4, 1, LAST) + last
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        ended(listening, caller, pdu)
    assert ("1.2.3", "1.2.3.5", "cut-off") in told
    assert all(what == ("1.2.3", "1.2.3.4", "cut-off") for what in told if what[1] != "1.2.3.5")


@pytest.mark.parametrize("body", [bytes(LONG_PDU), b"\xff" * LONG_PDU, b"\0\0\0\1" * (LONG_PDU // 4)])
def test_a_pdu_beyond_the_limit_that_is_none_tells_of_what_came_before(taken, body):
    told = []
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        pdu = struct.pack(">BBI", 4, 0, LONG_PDU) + body
        half = fragment(raw_caller.data_set("1.2.3.5", 100)[:-50], 0)
        ended(listening, caller, ASKED + half, pdu)
    assert told == [("1.2.3", "1.2.3.5", "cut-off")]


BROKEN_OFF = {
    "between two PDUs": fragment(raw_caller.data_set("1.2.3.5", 1000)[:-500], 0),
    "in a PDU": fragment(raw_caller.data_set("1.2.3.5"), LAST)[:-1],
}


@pytest.mark.parametrize("how", ["silent", "gone", "reset"])
@pytest.mark.parametrize("where", BROKEN_OFF)
def test_a_sender_that_ends_within_an_instance_is_told(taken, where, how, caplog):
    told = []
    limits = NodeLimits(seconds=0.5 if how == "silent" else 60)
    with node(taken, limits=limits, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(ASKED + BROKEN_OFF[where])
            if how == "silent":
                assert is_aborted(caller)
            elif how == "reset":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert eventually(lambda: told)
    assert told == [("1.2.3", "1.2.3.5", "cut-off")]
    assert taken.files == {}
    assert "PDUs of at most" not in caplog.text


def test_a_pdu_that_breaks_off_behind_another_study_is_told_of_its_own(taken):
    told = []
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(WHOLE)
            assert caller.recv(1) == b"\x04"
            caller.sendall(ASKED + fragment(raw_caller.data_set("1.2.3.5", study="1.2.9"), LAST)[:-1])
        assert eventually(lambda: told)
    assert told == [("1.2.9", "1.2.3.5", "cut-off")]


def test_a_sender_that_ends_behind_an_instance_has_left_nothing(taken):
    told = []
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(WHOLE)
            assert caller.recv(1) == b"\x04"
        assert eventually(lambda: not listening._server.active_associations)
    assert told == []


@pytest.mark.parametrize(
    "more", [ASKED, fragment(raw_caller.command()[:20], COMMAND)], ids=["command", "half"]
)
def test_an_instance_of_which_nothing_says_whose_it_is_is_logged(taken, more, caplog):
    told = []
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(more)
        assert eventually(lambda: "nothing is marked" in caplog.text)
    assert told == []
    assert "an instance of SCANNER was cut off before it said of which study it is" in caplog.text


def test_no_study_is_made_of_half_a_uid(taken, caplog):
    told = []
    data = raw_caller.data_set("1.2.3.5")
    half = data[: data.rindex(b"1.2.3\0") + 3]
    assert half.endswith(b"1.2")
    with node(taken, cut_off=keep(told)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(ASKED + fragment(half, 0))
        assert eventually(lambda: "nothing is marked" in caplog.text)
    assert told == []


def test_of_callers_together_the_first_instance_is_let_say_whose_it_is(taken, busy):
    told = []
    with node(busy, limits=NodeLimits(held_bytes=100_000), cut_off=keep(told)) as listening:
        first, _ = raw_caller.ask(listening.port)
        second, _ = raw_caller.ask(listening.port)
        with first, second:
            first.sendall(requests(1, 110_000))  # more than may be held, but whole
            assert eventually(lambda: listening._being_taken)
            second.sendall(ASKED)
            second.settimeout(0.5)
            with pytest.raises(TimeoutError):
                second.recv(1)
            second.settimeout(10)
            with suppress(ConnectionError):
                data = raw_caller.data_set("1.2.3.5", 60_000)
                second.sendall(fragment(data[:1000], 0))
                second.sendall(fragment(data[1000:2000], 0))
            assert is_aborted(second)
            busy.may_end.set()
    assert told == [("1.2.3", "1.2.3.5", "cut-off")]
