"""How associations end is told, by the sender that brought something: a release, an abort, silence, a loss."""

from __future__ import annotations

import socket

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from medkit.dicom.network.node import NodeLimits
from medkit.dicom.network.senders import End
from tests.dicom.network import raw_caller
from tests.dicom.network.raw_caller import COMMAND, LAST, fragment
from tests.dicom.network.takers import eventually, node

INSTANCE = fragment(raw_caller.command(), COMMAND | LAST) + fragment(raw_caller.data_set(), LAST)
RELEASE = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])
USER, PROVIDER = 0, 2  # who aborts (PS3.8 section 9.3.8)


@pytest.fixture
def told():
    """Ends, each with the sender."""
    return []


@pytest.fixture
def listening(taken, told):
    with node(taken, ended=lambda *what: told.append(what)) as one:
        yield one


def associated(port: int, paths):
    """An association over which files were sent, each with success."""
    datasets = [dcmread(path) for path in paths]
    entity = AE("SCANNER")
    for dataset in datasets[:1]:
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="MEDKIT")
    assert association.is_established
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == 0
    return association


def test_a_release_is_told_before_the_sender_has_its_answer(listening, told, study):
    association = associated(listening.port, study[:2])
    assert told == []
    association.release()
    ((sender, end),) = told
    assert (sender.ae_title, sender.address, end) == ("SCANNER", "127.0.0.1", End.RELEASE)
    assert eventually(lambda: not listening._server.active_associations)
    assert len(told) == 1, "its connection was closed as well"


def test_an_abort_between_two_instances_is_told(listening, told, study):
    associated(listening.port, study[:2]).abort()
    assert eventually(lambda: told)
    assert [end for _, end in told] == [End.ABORT]


@pytest.mark.parametrize(("source", "end"), [(USER, End.ABORT), (PROVIDER, End.LOSS)])
def test_an_abort_by_the_senders_network_layer_is_a_loss(source, end, listening, told):
    caller, _ = raw_caller.ask(listening.port)
    with caller:
        caller.sendall(INSTANCE)
        assert caller.recv(1000)[0] == 4
        caller.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, source, 0]))
        assert eventually(lambda: told)
    assert [found for _, found in told] == [end]


def test_a_connection_that_is_lost_between_two_instances_is_told(listening, told):
    caller, _ = raw_caller.ask(listening.port)
    with caller:
        caller.sendall(INSTANCE)
        assert caller.recv(1000)[0] == 4
    assert eventually(lambda: told)
    assert [end for _, end in told] == [End.LOSS]


@pytest.mark.parametrize(
    ("began", "end"), [(b"", End.SILENCE), (INSTANCE[:-9], End.LOSS)], ids=["between two", "in the midst"]
)
def test_silence_is_told_but_not_in_the_midst_of_an_instance(taken, told, began, end):
    with node(taken, limits=NodeLimits(seconds=0.5), ended=lambda *what: told.append(what)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(INSTANCE)
            assert caller.recv(1000)[0] == 4
            caller.sendall(began)
            assert eventually(lambda: told)
    assert [end for _, end in told] == [end]


@pytest.mark.parametrize("end", [End.RELEASE, End.LOSS])
def test_an_end_that_comes_while_an_instance_is_taken_is_told_when_it_was(busy, taken, told, end):
    stored = []
    with node(busy, ended=lambda *what: stored.append(len(taken.files)) or told.append(what)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(INSTANCE)
            assert eventually(busy.began.is_set)
            if end is End.RELEASE:
                caller.sendall(RELEASE)
            else:
                caller.shutdown(socket.SHUT_RDWR)
            assert eventually(lambda: end in listening._senders._ends.values())
            assert told == []
            busy.may_end.set()
            assert eventually(lambda: told)
    assert ([one for _, one in told], stored) == ([end], [1])


def test_two_associations_of_one_caller_are_two_senders(listening, told, study):
    for path in study[:2]:
        associated(listening.port, [path]).release()
    (first, _), (second, _) = told
    assert first != second
    assert first.opened < second.opened


def test_an_end_that_cannot_be_noted_is_logged_without_its_text(taken, study, caplog):
    def fail(*_):
        raise OSError("DOE^JANE")

    with node(taken, ended=fail) as listening:
        associated(listening.port, study[:1]).release()
    assert "the end of an association was not noted: OSError" in caplog.text
    assert "DOE" not in caplog.text
