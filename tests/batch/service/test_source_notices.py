"""What keeps a source from giving studies is told, by its cause, until it gives some again."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from medkit.batch.folder import JobFolder
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import Policy
from medkit.batch.notices import Notices
from medkit.batch.service.parts import make_counts
from medkit.batch.service.settings import ArchiveSettings, NodeSettings, PullSettings, Settings, WatchSettings
from medkit.batch.service.sources import count_chores, open_sources
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.summary import summarise
from medkit.dicom.network.node import StorageNode
from medkit.dicom.network.tls import TlsFiles
from tests.batch.intake.door import open_intake, write_study
from tests.batch.ledger.stories import Clock
from tests.dicom.network.certificates import make_certificates
from tests.servers.loopback import free_port

PATIENCE = 60


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def running(folder, **sources):
    """The sources of a service, without the rest of it; gives what is told of them, and the alerts."""
    job = JobFolder(folder / "job")
    job.root.mkdir(exist_ok=True)
    intake = open_intake(
        job.root, Clock(), policy=Policy(attempts=1, delay_seconds=0.01, longest_delay_seconds=0.01)
    )
    chores, memories = open_sources(Settings(job, (), **sources), intake)
    for chore in chores:
        chore.start()

    def look():
        summary = summarise(intake.ledger, time.time())
        return {one.name: one.code for one in summary.notices}, alerts(
            summary, Thresholds(), kept_free_bytes=0
        )

    try:
        yield look
    finally:
        for chore in chores:
            chore.stop()
        for chore in chores:
            assert chore.join(PATIENCE)
        for memory in memories:
            memory.close()
        intake.ledger.close()


def eventually(look, expected):
    until = time.monotonic() + PATIENCE
    while look()[0] != expected and time.monotonic() < until:
        time.sleep(0.02)
    notices, found = look()
    assert notices == expected
    return found


def pulling(host, port, **options):
    archive = {"host": host, "port": port, "ae_title": "PACS", "seconds": 5, **options}
    return {
        "archives": {"pacs": ArchiveSettings("dimse", archive)},
        "pulls": (PullSettings("pacs", {"filter": {"PatientID": "7"}}),),
    }


def test_a_certificate_of_another_host_calls_a_person_and_names_itself(tmp_path, certificates):
    with StorageNode(
        "PACS", lambda *_: 0, ["MEDKIT"], host="127.0.0.2", port=0, tls=certificates.server
    ) as archive:
        sources = pulling("127.0.0.2", archive.port, tls=certificates.client)
        with running(tmp_path, **sources) as look:
            (alert,) = eventually(look, {"archive-1": "tls-failed"})
    assert alert.code == "source-fails"
    assert "certificate is not valid for '127.0.0.2'" in alert.message


def test_a_certificate_that_the_archive_does_not_trust_does_so_too(tmp_path, certificates):
    anonymous = TlsFiles(authority=certificates.client.authority)
    with (
        StorageNode("PACS", lambda *_: 0, ["MEDKIT"], port=0, tls=certificates.server) as archive,
        running(tmp_path, **pulling("127.0.0.1", archive.port, tls=anonymous)) as look,
    ):
        (alert,) = eventually(look, {"archive-1": "tls-failed"})
    assert "CERTIFICATE_REQUIRED" in alert.message


def test_an_archive_that_does_not_answer_is_told_later(tmp_path):
    with running(tmp_path, **pulling("127.0.0.1", free_port())) as look:
        assert eventually(look, {"archive-1": "archive-down"}) == []


def test_an_archive_that_does_not_know_us_is_told_by_that(tmp_path):
    with (
        StorageNode("PACS", lambda *_: 0, ["SOMEBODY"], port=0) as archive,
        running(tmp_path, **pulling("127.0.0.1", archive.port)) as look,
    ):
        (alert,) = eventually(look, {"archive-1": "association-rejected"})
    assert "it does not know our AE title" in alert.message


def test_an_archive_that_offers_no_searches_is_told_by_that(tmp_path):
    with (
        StorageNode("PACS", lambda *_: 0, ["MEDKIT"], port=0) as archive,
        running(tmp_path, **pulling("127.0.0.1", archive.port)) as look,
    ):
        (alert,) = eventually(look, {"archive-1": "not-offered"})
    assert "have it switched on" in alert.message


@contextmanager
def failing_searches():
    """An archive that lets everybody in, and answers every search with a failure; gives its port."""
    entity = AE("PACS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers = [(evt.EVT_C_FIND, lambda event: iter([(0xC001, None)]))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_a_search_that_comes_to_nothing_again_and_again_is_told(tmp_path):
    with failing_searches() as port, running(tmp_path, **pulling("127.0.0.1", port)) as look:
        (alert,) = eventually(look, {"archive-1-requests": "pull-given-up"})
    assert "(find-failed)" in alert.message


def test_what_was_given_up_is_tried_again_by_the_next_service(tmp_path):
    (tmp_path / "list").write_text("A7\n")

    def sources(port):
        return pulling("127.0.0.1", port) | {
            "pulls": (PullSettings("pacs", {"accessions": tmp_path / "list"}),)
        }

    with failing_searches() as port, running(tmp_path, **sources(port)) as look:
        (alert,) = eventually(look, {"archive-1-requests": "pull-given-up"})
    assert "1 of its studies and searches" in alert.message
    Notices(tmp_path / "job" / "notices").clear_all()
    with running(tmp_path, **sources(free_port())) as look:
        eventually(look, {"archive-1": "archive-down"})


def test_a_share_that_is_not_mounted_is_told_until_it_is(tmp_path):
    with running(tmp_path, watched=(WatchSettings(tmp_path / "share", poll_seconds=0.05),)) as look:
        assert eventually(look, {"folder-1": "folder-unreachable"}) == []
        (tmp_path / "share").mkdir()
        eventually(look, {})


def test_an_archive_that_is_to_count_and_does_not_answer_is_told(tmp_path):
    """What a node took waits for it."""
    job = JobFolder(tmp_path / "job")
    job.root.mkdir()
    intake = open_intake(job.root, Clock())
    archive = ArchiveSettings(
        "dimse", {"host": "127.0.0.1", "port": free_port(), "ae_title": "PACS", "seconds": 5}
    )
    node = NodeSettings("MEDKIT", ("SCANNER",), count_at="pacs")
    settings = Settings(job, (), archives={"pacs": archive}, nodes=(node,), quiet_seconds=0)
    study = write_study(tmp_path / "study")
    counts = make_counts(settings, intake)
    assert list(counts) == ["pacs"]
    with study.paths[0].open("rb") as file:
        assert counts["pacs"].answer(study.uid, study.datasets[0].SOPInstanceUID, file) == 0
    (chore,) = count_chores(counts, settings, intake)
    chore.start()

    def look():
        notices = Notices(job.notices).all()
        return {one.name: one.code for one in notices}, notices

    (notice,) = eventually(look, {"pacs-counting": "archive-down"})
    chore.stop()
    assert chore.join(PATIENCE)
    assert notice.passing
    assert "studies wait to be counted" in notice.message
    settle(intake, 0.0)
    assert intake.ledger.study(study.hash).arriving
    assert count_chores({}, settings, intake) == [], "asked no more, and so forgotten"
    settle(intake, 0.0)
    assert not intake.ledger.study(study.hash).arriving
    intake.ledger.close()
