"""``medkit serve`` with all that it has: a node, a watched folder and archives, the status, and its end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest
from pydicom import dcmread
from pynetdicom import AE

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerView, State
from medkit.dicom.network.dimse import DimseArchive
from medkit.dicom.writing.stubs import is_stub
from tests.batch.making.studies import PATIENT
from tests.batch.service.conftest import PATIENCE, started, wait_for
from tests.batch.service.studies import ROOT, check_delivered_once, study_hash, write_numbered
from tests.servers.fixtures import loopback, orthanc, orthanc_server, own_network
from tests.servers.loopback import free_port
from tests.tiny_bundle import NAME

__all__ = ["loopback", "orthanc", "orthanc_server", "own_network"]

IN = {"folder": "in", "poll_seconds": 0.25, "rest_seconds": 0.5}
RULES = f"rules: [{{name: any-mr, bundle: {NAME}, inputs: {{image: {{modality: MR}}}}}}]\n"


class Site:
    """A folder with settings, and what a service does with them."""

    def __init__(self, folder: Path, bundle: Path, **settings: object) -> None:
        self.folder, self.log, self.port = folder, folder / "log", free_port()
        self.job, self.out = JobFolder(folder / "job"), folder / "out"
        for made in ("in", "out", "made"):
            (folder / made).mkdir()
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        content = {
            "folder": "job",
            "rules": "rules.yaml",
            "sources": {"folders": [IN]},
            "destinations": {"folders": {"out": "out"}},
            "bundles": {NAME: {"location": str(bundle)}},
            "device": "cpu",
            "quiet_seconds": 3,
            "limits": {"free_gib": 0, "stop_seconds": PATIENCE},
            "status": {"port": self.port},
        }
        (folder / "service.yaml").write_text(json.dumps(content | settings), encoding="utf-8")

    def bring(self, number: int) -> None:
        """Let a study lie in the watched folder, whole from the first moment."""
        write_numbered(self.folder / "made" / str(number), number).rename(self.folder / "in" / str(number))

    def serving(self, *options: str):
        return started("medkit", "serve", "service.yaml", "--logs", "json", *options, log=self.log)

    def wait_until(self, state: State, numbers: set[int], process) -> None:
        """Wait until these studies, and no others, are in a state."""
        wanted = {study_hash(number) for number in numbers}

        def reached() -> bool:
            if not self.job.ledger.exists():
                return False
            with LedgerView(self.job.ledger) as view:
                return {record.study for record in view.studies(state)} == wanted

        wait_for(reached, process, self.log)

    def ask(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.read()

    def end(self, process) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, self.log.read_text()[-3000:]
        assert list((self.job.work / "workers").iterdir()) == []
        text = self.log.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines[-1]["message"] == "stopped"
        assert [word for word in (*PATIENT, ROOT) if word in text] == []


def test_a_node_and_a_watched_folder_are_served_until_sigterm(tmp_path, bundle_root):
    port = free_port()
    node = {"ae_title": "MEDKIT", "callers": ["SCANNER"], "port": port}
    site = Site(tmp_path, bundle_root, sources={"nodes": [node], "folders": [IN]})
    sent = sorted(write_numbered(tmp_path / "sent", 1).iterdir())
    with site.serving() as process:
        site.bring(0)
        site.wait_until(State.DELIVERED, {0}, process)
        scanner = DimseArchive("127.0.0.1", port, "MEDKIT", own_ae_title="SCANNER")
        assert set(scanner.send(sent).values()) == {None}
        site.wait_until(State.DELIVERED, {0, 1}, process)
        assert json.loads(site.ask("/health"))["ready"]
        assert b'medkit_batch_studies{state="delivered"} 2.0' in site.ask("/metrics")
        results = sorted((site.out / study_hash(1)).iterdir())
        assert set(scanner.send(results).values()) == {None}, "own results come back, and are left out"
        site.end(process)
    states = check_delivered_once(site.job, site.out)
    assert states == dict.fromkeys([study_hash(0), study_hash(1)], State.DELIVERED)
    with site.serving() as process:
        site.bring(2)
        site.wait_until(State.DELIVERED, {0, 1, 2}, process)
        site.end(process)
    check_delivered_once(site.job, site.out)


def test_a_study_whose_sender_aborts_between_two_slices_is_made_when_it_came_whole(tmp_path, bundle_root):
    port = free_port()
    node = {"ae_title": "MEDKIT", "callers": ["SCANNER"], "port": port}
    limits = {"free_gib": 0, "stop_seconds": PATIENCE, "attempts": 1}
    site = Site(tmp_path, bundle_root, sources={"nodes": [node]}, limits=limits)
    files = sorted(write_numbered(tmp_path / "sent", 7).iterdir())
    with site.serving() as process:
        wait_for(lambda: b"listening" in site.log.read_bytes(), process, site.log)
        datasets = [dcmread(path) for path in files[:-2]]
        entity = AE("SCANNER")
        entity.add_requested_context(datasets[0].SOPClassUID, datasets[0].file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title="MEDKIT")
        assert [association.send_c_store(one).Status for one in datasets] == [0] * len(datasets)
        association.abort()
        site.wait_until(State.QUARANTINED, {7}, process)
        with LedgerView(site.job.ledger) as view:
            study = view.study(study_hash(7))
        assert (study.code, study.instances) == ("instances-missing", len(datasets))
        assert (
            "but its sender SCANNER did not say that this is all (not-released: broken off, or this"
            in study.reason
        )
        scanner = DimseArchive("127.0.0.1", port, "MEDKIT", own_ae_title="SCANNER")
        assert set(scanner.send(files).values()) == {None}
        site.wait_until(State.DELIVERED, {7}, process)
        site.end(process)
    assert "a sender broke off" in site.log.read_text()
    check_delivered_once(site.job, site.out)


def test_what_a_node_takes_is_counted_at_an_archive(orthanc, tmp_path, bundle_root):
    archive = DimseArchive(orthanc.host, orthanc.dicom_port, orthanc.ae_title)
    files = sorted(write_numbered(tmp_path / "sent", 6).iterdir())
    archive.send(files)
    port = free_port()
    node = {"ae_title": "MEDKIT", "callers": ["SCANNER"], "port": port, "count_at": "pacs"}
    known = {"host": orthanc.host, "port": orthanc.dicom_port, "ae_title": orthanc.ae_title}
    site = Site(tmp_path, bundle_root, sources={"nodes": [node]}, archives={"dimse": {"pacs": known}})
    scanner = DimseArchive("127.0.0.1", port, "MEDKIT", own_ae_title="SCANNER")
    with site.serving() as process:
        wait_for(lambda: b"listening" in site.log.read_bytes(), process, site.log)
        assert set(scanner.send(files).values()) == {None}
        site.wait_until(State.DELIVERED, {6}, process)
        site.end(process)
    check_delivered_once(site.job, site.out)
    (report,) = site.job.results.rglob("*.sr.dcm")
    assert b"not checked with an archive" not in report.read_bytes()


def test_studies_of_an_archive_come_back_to_it_as_results(orthanc, tmp_path, bundle_root):
    archive = DimseArchive(orthanc.host, orthanc.dicom_port, orthanc.ae_title)
    archive.send(sorted(write_numbered(tmp_path / "sent", 5).iterdir()))
    known = {"host": orthanc.host, "port": orthanc.dicom_port, "ae_title": orthanc.ae_title}
    site = Site(
        tmp_path,
        bundle_root,
        sources={
            "archives": [{"archive": "pacs", "filter": {"ModalitiesInStudy": "MR"}, "round_seconds": 1}]
        },
        archives={"dimse": {"pacs": known}},
        destinations={"archives": ["pacs"]},
    )
    with site.serving() as process:
        site.wait_until(State.DELIVERED, {5}, process)
        site.end(process)
    with LedgerView(site.job.ledger) as view:
        assert view.study(study_hash(5)).revision == 1, "results in the archive are no new instances"
    modalities = {entry["MainDicomTags"]["Modality"] for entry in orthanc.ask("/series?expand")}
    assert modalities == {"MR", "SEG", "SR", "OT"}


def test_what_was_kept_long_enough_is_removed_while_the_service_goes_on(tmp_path, bundle_root):
    site = Site(tmp_path, bundle_root, retention_days=2 / 86400)

    def removed() -> bool:
        spool, results = site.job.spool / "studies", site.job.results
        return (
            not list(spool.rglob("*.dcm"))
            and bool(made := list(results.rglob("*.dcm")))
            and all(map(is_stub, made))
        )

    with site.serving() as process:
        write_numbered(tmp_path / "in" / "study", 0)
        site.wait_until(State.DELIVERED, {0}, process)
        wait_for(removed, process, site.log)
        site.end(process)
    assert check_delivered_once(site.job, site.out) == {study_hash(0): State.DELIVERED}


def test_a_shadow_makes_everything_and_sends_nothing(tmp_path, bundle_root):
    site = Site(tmp_path, bundle_root)
    site.bring(0)
    with site.serving("--shadow") as process:
        site.wait_until(State.MADE, {0}, process)
        site.end(process)
    assert list(site.out.iterdir()) == []
    assert len(list(site.job.results.rglob("*.dcm"))) == 3
    with site.serving() as process:  # it was begun as a shadow, and what it made must not be sent
        assert process.wait(PATIENCE) == 2
    assert "shadow mode" in site.log.read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": "two"}, "workers: expected a whole number"),
        ({"bundles": {}}, "tiny_segmentation"),
    ],
)
def test_what_cannot_be_served_is_told_and_ends_with_2(tmp_path, bundle_root, settings, said):
    site = Site(tmp_path, bundle_root, **settings)
    with site.serving() as process:
        assert process.wait(PATIENCE) == 2
    assert said in site.log.read_text()
    assert "Traceback" not in site.log.read_text()


def test_two_services_do_not_share_a_folder(tmp_path, bundle_root):
    site = Site(tmp_path, bundle_root)
    with site.serving() as first:
        wait_for(site.job.ledger.exists, first, site.log)
        with site.serving() as second:
            assert second.wait(PATIENCE) == 2
        assert "no other service works on" in site.log.read_text()
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE) == 0
