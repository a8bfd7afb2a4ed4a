"""A node takes what DCMTK and pynetdicom send, byte for byte, from those on its list, and nothing from others."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification

from medkit.dicom.network.content import content_hash
from medkit.dicom.network.node import NodeLimits, StorageNode, check_ae_title
from medkit.dicom.network.tls import TlsFiles
from medkit.errors import UsageError
from tests.dicom.network import raw_caller
from tests.dicom.network.raw_caller import COMMAND, LAST, fragment, is_aborted, requests
from tests.dicom.network.takers import CALLER, eventually, node
from tests.servers.dcmtk import storescu
from tests.servers.programs import DCMTK, program


def associate(port: int, caller: str = CALLER, called: str = "MEDKIT", **more):
    entity = AE(caller)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.add_requested_context(Verification)
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        entity.add_requested_context(CTImageStorage, syntax)
    return entity.associate("127.0.0.1", port, ae_title=called, **more)


def uids(paths) -> set[tuple[str, str]]:
    return {(one.StudyInstanceUID, one.SOPInstanceUID) for one in map(pydicom.dcmread, paths)}


def data_set(file: bytes) -> bytes:
    """What follows the file meta information."""
    (length,) = struct.unpack("<I", file[140:144])
    return file[144 + length :]


def test_what_dcmtk_sends_is_taken_as_it_is(study, taken):
    with node(taken) as listening:
        assert storescu(listening.port, study).returncode == 0
    assert taken.files.keys() == uids(study)
    for path in study:
        sent = pydicom.dcmread(path)
        file = taken.files[sent.StudyInstanceUID, sent.SOPInstanceUID]
        assert file[:132] == bytes(128) + b"DICM"
        came = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file))
        assert came.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
        assert content_hash(came) == content_hash(path)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_every_transfer_syntax_comes_as_it_was_stored(study, taken, syntax, monkeypatch):
    dataset = pydicom.dcmread(study[0])
    dataset.Rows, dataset.Columns = 64, 64
    dataset.PixelData = np.arange(64 * 64, dtype="<u2").tobytes()
    if syntax.is_compressed:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    pydicom.dcmwrite(study[0], dataset, enforce_file_format=True, **order)
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # sends the bytes of the file
    entity = AE(CALLER)
    entity.add_requested_context(CTImageStorage, syntax)
    with node(taken) as listening:
        association = entity.associate("127.0.0.1", listening.port, ae_title="MEDKIT")
        assert association.send_c_store(study[0]).Status == 0
        association.release()
    (file,) = taken.files.values()
    assert data_set(file) == data_set(study[0].read_bytes())
    assert pydicom.dcmread(pydicom.filebase.DicomBytesIO(file)).file_meta.TransferSyntaxUID == syntax


def test_the_answer_is_the_takers(study, taken):
    taken.status = 0xA700
    with node(taken) as listening:
        association = associate(listening.port)
        assert association.send_c_store(pydicom.dcmread(study[0])).Status == 0xA700
        association.release()


def test_a_taker_that_fails_is_out_of_resources_and_says_no_more(study, caplog):
    def fail(study_uid, instance_uid, file):
        raise OSError(f"{study_uid} of Doe")

    with node(fail) as listening, caplog.at_level(logging.DEBUG):
        association = associate(listening.port)
        for path in study[:3]:
            assert association.send_c_store(pydicom.dcmread(path)).Status == 0xA700
        assert association.send_c_echo().Status == 0
        association.release()
    said = [one for one in caplog.messages if "OSError" in one]
    assert said == ["an instance of SCANNER was not taken: OSError; more of its association are not told"]
    assert "Doe" not in caplog.text
    assert pydicom.dcmread(study[0]).StudyInstanceUID not in caplog.text


def spoil(name, value):
    def change(dataset):
        setattr(dataset, name, value)

    return change


WRONG = {
    "no study": (spoil("StudyInstanceUID", ""), 0xC000),
    "a study that is no UID": (spoil("StudyInstanceUID", "1.2/../3"), 0xC000),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_say_where_it_belongs_is_not_taken(study, taken, kind):
    dataset = pydicom.dcmread(study[0])
    change, status = WRONG[kind]
    change(dataset)
    with node(taken) as listening:
        association = associate(listening.port)
        assert association.send_c_store(dataset).Status == status
        association.release()
    assert taken.files == {}


def test_another_instance_than_the_request_names_is_not_taken(study, taken, monkeypatch):
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    file = study[0].read_bytes()
    uid = pydicom.dcmread(study[0]).SOPInstanceUID.encode()
    place = file.rindex(uid)
    assert file.index(uid) < place  # in the file meta information, and in the data set
    study[0].write_bytes(file[: place + len(uid) - 1] + b"99"[:1] + file[place + len(uid) :])
    assert pydicom.dcmread(study[0]).SOPInstanceUID != uid.decode()
    with node(taken) as listening:
        association = associate(listening.port)
        assert association.send_c_store(study[0]).Status == 0xA900
        association.release()
    assert taken.files == {}


def test_strangers_are_rejected_and_told_of(study, taken, caplog):
    with node(taken) as listening:
        assert storescu(listening.port, study, caller="STRANGER").returncode != 0
        assert storescu(listening.port, study, called="OTHER").returncode != 0
        assert storescu(listening.port, study, caller="scanner").returncode != 0
    assert taken.files == {}
    first, second, third = (one.getMessage() for one in caplog.records if "rejected" in one.getMessage())
    who, what = (
        "rejected an association of",
        "it may not send here, only SCANNER may; name it in callers if it should",
    )
    assert first == f"{who} STRANGER with MEDKIT from 127.0.0.1: {what}"
    mended = "it calls OTHER, and we are MEDKIT; have it call MEDKIT, or change our ae_title"
    assert second == f"{who} SCANNER with OTHER from 127.0.0.1: {mended}"
    assert third == f"{who} scanner with MEDKIT from 127.0.0.1: {what}"


def test_who_sends_is_told_of_each_instance_before_it_is_taken(study, taken):
    told = []

    def comes_from(study_uid, sop_uid, sender):
        there = (study_uid, sop_uid) in taken.files
        told.append((study_uid, sop_uid, sender.ae_title, sender.address, there))

    with node(taken, comes_from=comes_from) as listening:
        assert storescu(listening.port, study).returncode == 0
    assert set(told) == {(*one, CALLER, "127.0.0.1", False) for one in uids(study)}


def test_what_cannot_be_told_of_is_not_taken(study, taken):
    def comes_from(*_):
        raise OSError(28, "no space left")

    with node(taken, comes_from=comes_from) as listening:
        association = associate(listening.port)
        assert association.send_c_store(study[0]).Status == 0xA700
        association.release()
    assert taken.files == {}


def find(port: int):
    command = [program("findscu", DCMTK), "-S", "-aet", CALLER, "-aec", "MEDKIT", "-k", "StudyDate"]
    command += ["127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_other_services_are_not_offered(taken):
    with node(taken) as listening:
        said = find(listening.port)
    assert said.returncode != 0
    assert "No Acceptable Presentation Contexts" in said.stderr


def test_too_many_associations_are_rejected_for_now(taken, caplog):
    with node(taken, limits=NodeLimits(associations=2)) as listening:
        there = [associate(listening.port) for _ in range(2)]
        third = associate(listening.port)
        assert [one.is_established for one in there] == [True, True]
        assert third.is_rejected
        assert third.acceptor.primitive.result == 2  # transient: to be tried again
        full = "rejected an association of %s with MEDKIT from 127.0.0.1: there are as many associations as there may be"
        assert eventually(lambda: full % "SCANNER" in caplog.messages)
        assert associate(listening.port, caller="STRANGER").acceptor.primitive.result == 2
        title = "; it may not send here, only SCANNER may; name it in callers if it should"
        assert eventually(lambda: full % "STRANGER" + title in caplog.messages)
        for one in there:
            one.release()
        again = associate(listening.port)
        assert again.is_established
        again.release()


def test_an_instance_that_is_too_large_ends_its_association(study, taken, caplog):
    large = pydicom.dcmread(study[0])
    large.ImageComments = "x" * 10_000
    large.save_as(study[0])
    with node(taken, limits=NodeLimits(pdu_bytes=4096, instance_bytes=5000)) as listening:
        assert storescu(listening.port, study[:1]).returncode != 0
    assert taken.files == {}
    assert "at most 5000 bytes" in caplog.text


def test_a_command_without_end_is_not_kept(taken, caplog):
    with node(taken) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            for _ in range(3):
                caller.sendall(fragment(bytes(50_000), COMMAND))
            assert is_aborted(caller)
    assert "commands of at most 65536 bytes" in caplog.text


def test_instances_that_wait_to_be_taken_are_bounded(taken, busy, caplog):
    with node(busy, limits=NodeLimits(instance_bytes=100_000)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(requests(4, 60_000))
            assert is_aborted(caller)
    assert "before the answer to the first" in caplog.text


def test_requests_that_wait_to_be_answered_are_bounded(busy):
    with node(busy) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(requests(30, 0))
            assert is_aborted(caller)


def test_a_few_requests_at_once_are_answered_one_by_one(taken):
    with node(taken) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            caller.sendall(requests(3, 10))
            answers = b""
            while answers.count(struct.pack("<HHIH", 0, 0x0900, 2, 0)) < 3:
                more = caller.recv(4096)
                assert more
                answers += more


def test_what_all_callers_send_together_is_bounded(taken, busy, caplog):
    with node(busy, limits=NodeLimits(held_bytes=100_000)) as listening:
        first, _ = raw_caller.ask(listening.port)
        second, _ = raw_caller.ask(listening.port)
        with first, second:
            first.sendall(requests(1, 60_000))
            assert eventually(lambda: listening._being_taken)
            second.sendall(requests(2, 60_000))
            assert is_aborted(second)
            first.settimeout(0.2)
            with pytest.raises(TimeoutError):
                first.recv(1)
            first.settimeout(10)
            busy.may_end.set()
            assert first.recv(1) == b"\x04"
    assert "at most 100000 bytes of all callers together" in caplog.text


@pytest.mark.parametrize("request_of", [None, raw_caller.command(None)], ids=["nothing", "no instance"])
def test_data_that_will_never_say_whose_they_are_are_bounded_too(taken, request_of, caplog):
    with node(taken, limits=NodeLimits(held_bytes=100_000)) as listening:
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            with suppress(ConnectionError):
                if request_of is not None:
                    caller.sendall(fragment(request_of, COMMAND | LAST))
                for _ in range(30):
                    caller.sendall(fragment(bytes(60_000), 0))
            assert is_aborted(caller)
    assert "at most 100000 bytes of all callers together" in caplog.text


def test_what_was_held_is_let_go_with_its_association(taken):
    with node(taken) as listening:
        for _ in range(2):
            caller, _ = raw_caller.ask(listening.port)
            with caller:
                caller.sendall(requests(1, 1000) + fragment(raw_caller.command(), COMMAND | LAST))
                assert caller.recv(1) == b"\x04"
        assert eventually(lambda: listening._held == listening._being_taken == {})


@pytest.mark.parametrize("uid", ["DOE^JOHN", "1." + "2" * 68])
def test_odd_uids_get_into_no_log(taken, uid, caplog):
    with node(taken) as listening, caplog.at_level(logging.DEBUG):
        caller, _ = raw_caller.ask(listening.port)
        with caller:
            data = raw_caller.data_set().replace(b"1.2.3.4\0", uid.encode())
            request = raw_caller.command().replace(b"1.2.3.4\0", uid.encode())
            length = len(uid).to_bytes(4, "little")
            request = request.replace(b"\0\0\0\x10\x08\0\0\0", b"\0\0\0\x10" + length)
            caller.sendall(fragment(request, COMMAND | LAST) + fragment(data, LAST))
            assert caller.recv(1)
    assert uid not in caplog.text


@pytest.mark.parametrize("title", [b"X\nERROR all gone", b"X\x1b[2J", b"X\x85Y"])
def test_a_caller_cannot_write_lines_of_the_log(taken, title, caplog):
    with node(taken) as listening, caplog.at_level(logging.DEBUG):
        caller, answer = raw_caller.ask(listening.port, title)
        with caller:
            assert answer != 2
    assert all(one.getMessage().isprintable() for one in caplog.records)


def test_a_pdu_of_four_gigabytes_is_not_waited_for(taken):
    with node(taken) as listening, socket.create_connection(("127.0.0.1", listening.port), 10) as caller:
        caller.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1))
        assert caller.recv(1) == b""


def test_those_who_only_knock_take_no_place(taken):
    with node(taken, limits=NodeLimits(associations=2)) as listening:
        for _ in range(5):
            socket.create_connection(("127.0.0.1", listening.port), 10).close()
        assert eventually(lambda: not listening._server.active_associations)
        association = associate(listening.port)
        assert association.is_established
        association.release()


def test_a_caller_who_says_nothing_is_let_go(taken):
    limits = NodeLimits(seconds=0.3)
    with node(taken, limits=limits) as listening:
        with socket.create_connection(("127.0.0.1", listening.port), 10) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(("127.0.0.1", listening.port), 10) as halting:
            halting.sendall(struct.pack(">BBL", 1, 0, 100) + bytes(10))
            assert halting.recv(1) == b""


def test_an_association_is_let_finish(study, taken):
    listening = node(taken)
    listening.start()
    association = associate(listening.port)
    stopping = threading.Thread(target=listening.stop)
    stopping.start()
    refused = None
    while refused is None:
        try:
            socket.create_connection(("127.0.0.1", listening.port), 1).close()
        except OSError as error:
            refused = error
    for path in study:
        assert association.send_c_store(pydicom.dcmread(path)).Status == 0
    association.release()
    stopping.join(20)
    assert not stopping.is_alive()
    assert len(taken.files) == len(study)


def test_what_does_not_finish_is_aborted(taken):
    listening = node(taken)
    listening.start()
    association = associate(listening.port)
    listening.stop(grace_seconds=0.2)
    assert eventually(lambda: association.is_aborted)
    listening.stop()


def test_it_starts_again_on_its_port(study, taken):
    listening = node(taken)
    for _ in range(2):
        with listening:
            assert storescu(listening.port, study[:1]).returncode == 0


def test_a_port_that_is_taken_is_told(taken):
    with (
        node(taken) as listening,
        pytest.raises(UsageError, match="the DICOM node: expected an address to listen on"),
    ):
        StorageNode("OTHER", taken, [CALLER], port=listening.port).start()


def test_only_this_machine_is_listened_to(taken):
    with node(taken) as listening:
        assert listening._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("title", ["", " ", "A" * 17, "A\\B", "Ä", "A\nB"])
def test_an_ae_title_that_is_none_is_refused(taken, title):
    with pytest.raises(UsageError, match="AE title"):
        StorageNode(title, taken, [CALLER])
    with pytest.raises(UsageError, match="AE title"):
        StorageNode("MEDKIT", taken, [title])
    assert check_ae_title(" PACS 1 ") == "PACS 1"


def test_a_node_without_callers_is_refused(taken):
    with pytest.raises(UsageError, match="who may send"):
        StorageNode("MEDKIT", taken, [])


def test_dcmtk_sends_over_tls(study, taken, certificates):
    files = certificates.client
    options = ["+tls", files.key, files.certificate, "+cf", files.authority]
    with node(taken, tls=certificates.server) as listening:
        assert storescu(listening.port, study, *map(str, options)).returncode == 0
    assert taken.files.keys() == uids(study)


def test_over_tls_strangers_and_plain_callers_get_nothing(study, taken, certificates, caplog):
    stranger = certificates.stranger
    with node(taken, tls=certificates.server) as listening:
        options = ["+tls", stranger.key, stranger.certificate, "+cf", stranger.authority]
        assert storescu(listening.port, study, *map(str, options)).returncode != 0
        assert storescu(listening.port, study).returncode != 0
        anonymous = TlsFiles(authority=certificates.client.authority).client_context()
        assert not associate(listening.port, tls_args=(anonymous, "127.0.0.1")).is_established
    assert taken.files == {}
    assert "a connection from 127.0.0.1 failed" in caplog.text


def test_a_handshake_that_does_not_come_holds_up_nobody(study, taken, certificates):
    files = certificates.client
    options = ["+tls", files.key, files.certificate, "+cf", files.authority]
    with (
        node(taken, tls=certificates.server) as listening,
        socket.create_connection(("127.0.0.1", listening.port), 10),
    ):
        assert storescu(listening.port, study[:1], *map(str, options)).returncode == 0


def test_old_tls_is_not_spoken(taken, certificates):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certificates.client.authority)
    old.load_cert_chain(certificates.client.certificate, certificates.client.key)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with node(taken, tls=certificates.server) as listening:
        assert not associate(listening.port, tls_args=(old, "127.0.0.1")).is_established


def test_nagle_is_off_on_both_sides(taken):
    with node(taken) as listening:
        association = associate(listening.port)
        (served,) = listening._server.active_associations
        assert served.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        association.release()
