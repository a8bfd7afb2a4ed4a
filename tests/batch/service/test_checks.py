from __future__ import annotations

import logging
import shutil
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Ledger, LedgerError, LedgerView, Mode
from medkit.batch.service.checks import ask_archives, check_settings
from medkit.batch.service.settings import read_settings
from medkit.batch.service.supervisor import Supervisor
from medkit.batch.status.server import StatusServer
from medkit.dicom.confidentiality import KEY_VARIABLE
from medkit.dicom.network.node import StorageNode
from medkit.errors import MedkitError, UsageError
from tests.batch.ledger.stories import Clock, arrive, make
from tests.batch.service.test_settings import SMALL, write
from tests.servers.loopback import free_port


@pytest.fixture
def small(tiny_root, tmp_path):
    """Settings in which nothing is wrong."""
    (tmp_path / "results").mkdir()
    (tmp_path / "incoming").mkdir()
    own = f"bundles:\n  brain:\n    location: {tiny_root}\nlimits: {{free_gib: 0}}\nstatus: {{port: 0}}\n"
    return SMALL + own


def check(tmp_path, text, **changes):
    path = write(tmp_path, text)
    return check_settings(path, replace(read_settings(path), **changes))


def with_a_result(folder):
    with Ledger(folder / "ledger.sqlite", "node", clock=Clock()) as ledger:
        arrive(ledger, "a")
        make(ledger, "X")


def told(tmp_path, lines):
    return [line.removeprefix(f"{tmp_path}/") for line in lines]


def test_settings_in_which_nothing_is_wrong_have_no_faults_and_nothing_is_begun(tmp_path, small):
    seen = check(tmp_path, small)
    assert (seen.faults, seen.doubts, len(seen.bundles)) == ((), (), 1)
    assert not (tmp_path / "night").exists()


def test_a_start_on_a_cpu_does_not_wait_for_pytorch(tmp_path, small, monkeypatch):
    asked = []
    monkeypatch.setattr("medkit.batch.service.checks.ask_elsewhere", lambda *given: asked.append(given) or [])
    assert check(tmp_path, f"{small}device: cpu\n").faults == ()
    assert asked == []
    check(tmp_path, f"{small}device: cuda:0\n")
    assert len(asked) == 1


def test_what_would_end_the_service_later_is_all_told_with_file_line_and_key(tmp_path, small, monkeypatch):
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    (tmp_path / "results").rmdir()
    wrong = small.replace("limits:", "    overrides: {'inferer::overlapp': 0.5}\ndevice: cuda:99\nlimits:")
    wrong = wrong.replace("sources:\n", "sources:\n  archives: [{archive: web, studies: list.txt}]\n")
    wrong += "archives:\n  dicomweb:\n    web: {url: 'https://h/dicom-web', token_variable: PACS_TOKEN}\n"
    faults = told(tmp_path, check(tmp_path, wrong).faults)
    assert [fault.partition(" ")[0] for fault in faults] == ["service.yaml:"] * 5
    assert [": ".join(fault.split(": ")[1:3]) for fault in faults] == [
        "line 4: sources.archives[1].studies",
        "line 8: destinations.folders.out",
        "line 12: bundles.brain.overrides.inferer::overlapp",
        "line 13: device",
        "line 18: archives.dicomweb.web",
    ]
    words = ("list.txt", "got none; mount", "did you mean 'overlap'", "cuda:99", "PACS_TOKEN")
    assert [word in fault for word, fault in zip(words, faults, strict=True)] == [True] * 5


def test_a_bundle_that_cannot_be_used_is_told_where_it_is_named(tmp_path, small, tiny_root):
    (fault,) = told(tmp_path, check(tmp_path, small.replace(str(tiny_root), "/nowhere")).faults)
    assert fault.startswith(
        "service.yaml: line 10: bundles.brain.location: /nowhere: expected a bundle's folder, "
    )
    text = small.replace(f"bundles:\n  brain:\n    location: {tiny_root}\n", "")
    (fault,) = told(tmp_path, check(tmp_path, text).faults)
    assert fault.startswith("rules.yaml: line 1: rules[1].bundle: no bundle 'brain': ")


def test_a_bundle_that_cannot_be_loaded_is_told_where_that_is_asked_for(tmp_path, small, tiny_root):
    root = shutil.copytree(tiny_root, tmp_path / "damaged")
    (root / "models" / "model.pt").write_bytes(b"no weights")
    path = write(tmp_path, small.replace(str(tiny_root), str(root)))
    settings = read_settings(path)
    assert check_settings(path, settings).faults == ()
    (fault,) = told(tmp_path, check_settings(path, settings, load=True).faults)
    assert fault.startswith("service.yaml: line 10: bundles.brain.location: ")
    assert "model.pt: expected a checkpoint" in fault


def test_a_device_that_does_not_answer_ends_the_check(tmp_path, small, monkeypatch):
    monkeypatch.setattr("medkit.batch.service.checks._BUNDLE_SECONDS", 0.0)
    with pytest.raises(MedkitError, match=r"look at the device cuda:0 .* within 0 seconds, got no answer"):
        check(tmp_path, f"{small}device: cuda:0\n")


def test_files_of_tls_that_cannot_be_used_are_told(tmp_path, small):
    node = "  nodes: [{ae_title: A, callers: [B], port: 0, tls: {certificate: c.pem, key: k.pem}}]\n"
    text = small.replace("sources:\n", f"sources:\n{node}")
    text += "archives: {dimse: {pacs: {host: h, port: 104, ae_title: P, tls: {authority: ca.pem}}}}\n"
    first, second = told(tmp_path, check(tmp_path, text).faults)
    assert first.startswith("service.yaml: line 4: sources.nodes[1].tls: ")
    assert "c.pem" in first
    assert second.startswith("service.yaml: line 14: archives.dimse.pacs.tls: ")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "MEDKIT_DEIDENTIFICATION_KEY: expected"),
        ("short", "MEDKIT_DEIDENTIFICATION_KEY: expected a key of at least 16 bytes"),
    ],
)
def test_a_key_that_is_not_there_or_too_short_is_told(tmp_path, small, monkeypatch, key, said):
    text = f"{small}outputs: {{deidentify: remove-dates}}\n"
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    assert check(tmp_path, text).faults == ()
    monkeypatch.setenv(KEY_VARIABLE, key)
    (fault,) = check(tmp_path, text).faults
    assert "outputs.deidentify" in fault
    assert said in fault
    assert check(tmp_path, small).faults == (), "nobody asked for it"


@pytest.fixture
def taken_ports():
    """Two ports on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield one.getsockname()[1], other.getsockname()[1]


def test_addresses_that_cannot_be_listened_on_are_told_as_the_service_tells_them(
    tmp_path, small, taken_ports
):
    first, second = taken_ports
    nodes = f"  nodes: [{{ae_title: A, callers: [B], port: {first}}}, {{ae_title: A, callers: [B], host: a..b}}]\n"
    text = small.replace("sources:\n", f"sources:\n{nodes}").replace("port: 0", f"port: {second}")
    faults = told(tmp_path, check(tmp_path, text).faults)
    places = [fault.split(": ")[1:3] for fault in faults]
    assert places == [
        ["line 4", "sources.nodes[1].port"],
        ["line 4", "sources.nodes[2].host"],
        ["line 13", "status.port"],
    ]
    assert "a..b, port 11112: no name of a host; name an address of this machine" in faults[1]
    for fault, server in (
        (faults[0], StorageNode("A", lambda *_: 0, ["B"], port=first)),
        (faults[2], StatusServer(JobFolder(tmp_path / "night"), port=second)),
    ):
        with pytest.raises(UsageError) as raised:
            server.start()
        assert fault.endswith(str(raised.value).partition(": ")[2])


def test_ports_of_the_service_that_works_on_the_batch_are_its_own(tmp_path, small, taken_ports):
    text = small.replace("port: 0", f"port: {taken_ports[0]}")
    job = JobFolder(tmp_path / "night")
    job.root.mkdir()
    with job.hold():
        assert check(tmp_path, text).faults == ()
        (fault,) = check(tmp_path, text.replace("status: {", "status: {host: 203.0.113.1, ")).faults
    assert ": status.host: expected an address to listen on, got 203.0.113.1" in fault
    assert len(check(tmp_path, text).faults) == 1


def test_a_port_that_is_listened_on_for_a_while_alone_is_a_doubt(tmp_path, small, taken_ports):
    move = f"move: {{ae_title: M, port: {taken_ports[0]}}}"
    text = f"{small}archives: {{dimse: {{pacs: {{host: h, port: 104, ae_title: P, {move}}}}}}}\n"
    seen = check(tmp_path, text)
    assert seen.faults == ()
    (doubt,) = told(tmp_path, seen.doubts)
    assert doubt.startswith(
        "service.yaml: line 13: archives.dimse.pacs.move.port: expected an address to listen on"
    )


def test_a_folder_of_the_other_mode_is_told_as_the_service_tells_it(tmp_path, small):
    (tmp_path / "night").mkdir()
    with_a_result(tmp_path / "night")
    assert check(tmp_path, small).faults == ()
    (fault,) = check(tmp_path, small, shadow=True).faults
    assert ": line 1: folder: " in fault
    with pytest.raises(UsageError) as raised:
        Supervisor(replace(read_settings(tmp_path / "service.yaml"), shadow=True))
    assert str(raised.value) in fault


def test_a_batch_goes_on_about_nobody_as_it_began(tmp_path, small, monkeypatch):
    key = monkeypatch.setenv
    key(KEY_VARIABLE, "sixteen bytes or")
    text = f"{small}outputs: {{deidentify: shift-dates}}\n"
    Supervisor(read_settings(write(tmp_path, text))).close()
    with_a_result(tmp_path / "night")
    assert check(tmp_path, text).faults == ()
    Supervisor(read_settings(tmp_path / "service.yaml")).close()
    for other, another in (
        (text.replace("shift", "remove"), "sixteen bytes or"),
        (small, "sixteen bytes or"),
        (text, "another key, 16+"),
    ):
        key(KEY_VARIABLE, another)
        (fault,) = check(tmp_path, other).faults
        assert "results are always about nobody (shift-dates, by the key of fingerprint " in fault
        with pytest.raises(UsageError, match="name another folder") as raised:
            Supervisor(read_settings(tmp_path / "service.yaml"))
        assert str(raised.value) in fault


def test_a_batch_about_patients_does_not_become_one_about_nobody(tmp_path, small, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    Supervisor(read_settings(write(tmp_path, small))).close()
    asked = f"{small}outputs: {{deidentify: shift-dates}}\n"
    assert check(tmp_path, asked).faults == (), "nothing was made"
    with_a_result(tmp_path / "night")
    (fault,) = check(tmp_path, asked).faults
    assert (
        "results are always about their patients, as those that it has, got about nobody (shift-dates"
        in fault
    )
    with LedgerView(tmp_path / "night" / "ledger.sqlite") as view:
        assert view.mode() == Mode()


def test_a_copy_of_the_ledger_alone_goes_on_as_the_batch_did(tmp_path, small, monkeypatch):
    """What the documentation has people back up."""
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    text = f"{small}outputs: {{deidentify: shift-dates}}\n"
    Supervisor(read_settings(write(tmp_path, text))).close()
    with_a_result(tmp_path / "night")
    (tmp_path / "again").mkdir()
    with closing(sqlite3.connect(tmp_path / "night" / "ledger.sqlite")) as one:
        one.execute("VACUUM INTO ?", (str(tmp_path / "again" / "ledger.sqlite"),))
    again = text.replace("folder: night", "folder: again")
    assert check(tmp_path, again).faults == ()
    (fault,) = check(tmp_path, small.replace("folder: night", "folder: again")).faults
    assert "results are always about nobody" in fault


def test_a_batch_within_another_is_refused_before_anything_is_made(tmp_path, small):
    (tmp_path / "night").mkdir()
    Ledger(tmp_path / "night" / "ledger.sqlite", "node").close()
    (fault,) = check(tmp_path, small.replace("folder: night", "folder: night/delivered")).faults
    assert f"expected a folder of its own, got one in that of the batch {tmp_path / 'night'}" in fault
    with pytest.raises(UsageError) as raised:
        Supervisor(read_settings(tmp_path / "service.yaml"))
    assert str(raised.value) in fault
    assert not (tmp_path / "night" / "delivered").exists()


def test_a_ledger_that_cannot_be_read_is_no_fault_of_the_settings(tmp_path, small):
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "ledger.sqlite").write_bytes(b"no ledger" * 100)
    with pytest.raises(LedgerError, match="expected a ledger"):
        check(tmp_path, small)


def test_what_may_be_right_later_is_told_and_logged_and_is_no_fault(tmp_path, small, caplog):
    (tmp_path / "incoming").rmdir()
    seen = check(tmp_path, small.replace("free_gib: 0", "free_gib: 1000000000"))
    assert seen.faults == ()
    folder, disk = told(tmp_path, seen.doubts)
    assert folder == (
        f"service.yaml: line 5: sources.folders[1].folder: no folder at {tmp_path / 'incoming'} now: nothing is taken "
        "from it until it is mounted or made"
    )
    assert disk.startswith("service.yaml: line 11: limits.free_gib: ")
    assert "1e+09 are to stay free: nothing is taken until there is more" in disk
    caplog.set_level(logging.WARNING, "medkit.batch")
    seen.log_doubts()
    assert caplog.messages == list(seen.doubts)


def test_archives_are_asked_each(tmp_path, small):
    port, nobody = free_port(), free_port()
    text = small + (
        "archives:\n  dimse:\n"
        f"    here: {{host: 127.0.0.1, port: {port}, ae_title: PACS, own_ae_title: MEDKIT}}\n"
        f"    stranger: {{host: 127.0.0.1, port: {port}, ae_title: PACS, own_ae_title: OTHER}}\n"
        f"    gone: {{host: 127.0.0.1, port: {nobody}, ae_title: PACS, seconds: 5}}\n"
        f"  dicomweb:\n    web: {{url: 'http://127.0.0.1:{nobody}/dicom-web', seconds: 5}}\n"
    )
    settings = read_settings(write(tmp_path, text))
    with StorageNode("PACS", lambda *_: 0, ["MEDKIT"], port=port):
        found = dict(ask_archives(settings))
    assert list(found) == ["here", "stranger", "gone", "web"]
    assert found.pop("here") is None
    assert all(found.values()), found
    assert f"PACS at 127.0.0.1:{nobody}" in found["gone"]
