from __future__ import annotations

import json

import pytest
from pydicom import dcmread
from pynetdicom import AE

from medkit.batch.delivery.destinations import ArchiveDestination, FolderDestination
from medkit.batch.folder import JobFolder
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Step
from medkit.batch.ledger import Ledger
from medkit.batch.making import Outputs
from medkit.batch.service.parts import (
    SHADOW,
    make_archive,
    make_context,
    make_destinations,
    make_node,
    make_puller,
)
from medkit.batch.service.settings import ArchiveSettings, NodeSettings, PullSettings, Settings
from medkit.batch.spool import Spool
from medkit.dicom.network.dicomweb import DicomwebArchive
from medkit.dicom.network.dimse import DimseArchive
from medkit.dicom.writing.results import ResultKind
from medkit.errors import UsageError
from tests.batch.intake.conftest import clock, intake
from tests.batch.intake.door import write_study
from tests.batch.intake.pulling import FakeArchive

__all__ = ["clock", "intake"]

PACS = ArchiveSettings("dimse", {"host": "h", "port": 104, "ae_title": "PACS"})
WEB = ArchiveSettings("dicomweb", {"url": "https://h/dicom-web"})


@pytest.fixture
def settings(tmp_path):
    return Settings(
        job=JobFolder(tmp_path / "job"),
        rules=(),
        folders={"copies": tmp_path / "copies"},
        archives={"pacs": PACS, "web": WEB, "asked": PACS},
        sending=("pacs", "web"),
        outputs=Outputs(kinds=(ResultKind.REPORT,)),
    )


def test_an_archive_speaks_the_protocol_of_its_settings():
    assert isinstance(make_archive(PACS), DimseArchive)
    assert isinstance(make_archive(WEB), DicomwebArchive)


def test_an_archive_whose_secret_is_not_set_is_refused(monkeypatch):
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    with pytest.raises(UsageError, match="PACS_TOKEN"):
        make_archive(ArchiveSettings("dicomweb", {**WEB.options, "token_variable": "PACS_TOKEN"}))


def test_destinations_go_by_the_names_of_the_settings_and_an_archive_that_is_only_asked_is_none(settings):
    found = make_destinations(settings)
    assert {name: type(one._destination) for name, one in found.items()} == {
        "copies": FolderDestination,
        "pacs": ArchiveDestination,
        "web": ArchiveDestination,
    }
    assert [one.name for one in found.values()] == list(found)


@pytest.mark.parametrize(("shadow", "named"), [(False, ["copies", "pacs", "web"]), (True, [SHADOW])])
def test_results_are_made_for_all_destinations_and_those_of_a_shadow_for_none(settings, shadow, named):
    settings = Settings(**{**vars(settings), "shadow": shadow})
    spool = Spool(settings.job.spool)
    with Ledger(settings.job.ledger, "worker-1") as ledger:
        context = make_context(settings, ledger, spool)
    assert context.destinations == named
    assert context.outputs is settings.outputs
    assert context.results == settings.job.results


def test_a_study_in_an_archive_rests_for_the_quiet_time_of_the_settings(intake, clock, tmp_path):
    asked = PullSettings("pacs", {"filter": {"Modality": "CT"}}, {"clock": clock, "monotonic": clock})
    archive, memory = FakeArchive(write_study(tmp_path / "pacs")), Memory(tmp_path / "memory.sqlite")
    puller = make_puller(asked, 300.0, archive, intake, memory)
    assert [puller.step() for _ in range(3)] == [Step.SEARCHED, Step.SEEN, Step.IDLE]
    clock.pass_by(299)
    assert puller.step() is Step.IDLE
    clock.pass_by(1)
    assert puller.step() is Step.PULLED
    memory.close()


def test_a_node_is_made_with_the_limits_of_the_settings_and_refused_with_a_wrong_title(intake):
    make_node(NodeSettings("MEDKIT", ("SCANNER",), {"port": 0}, associations=2), intake)
    with pytest.raises(UsageError, match="AE title"):
        make_node(NodeSettings("MUCH-TOO-LONG-A-TITLE", ("SCANNER",), {"port": 0}), intake)


def test_who_sends_another_content_is_told_of_callers_that_send_at_the_same_time(tmp_path, intake):
    (path,) = write_study(tmp_path / "in", slices=1).paths
    image = dcmread(path)
    with make_node(NodeSettings("MEDKIT", ("SCANNER", "ROUTER"), {"port": 0}), intake) as node:
        open_ones = []
        for title in ("SCANNER", "ROUTER"):
            entity = AE(title)
            entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
            open_ones.append(entity.associate("127.0.0.1", node.port, ae_title="MEDKIT"))
        for association, words in zip(open_ones, ("as it was", "as a router made it"), strict=True):
            image.SeriesDescription = words
            assert association.send_c_store(image).Status == 0
        for association in open_ones:
            association.release()
    lines = [json.loads(line) for path in intake.audit.folder.glob("*.jsonl") for line in path.open()]
    told = [(one["ae_title"], one["address"]) for one in lines if one["event"] == "instance-conflict"]
    assert told == [("ROUTER", "127.0.0.1")]
