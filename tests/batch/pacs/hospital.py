"""A batch with one worker and one destination, and what is to be seen in the archive beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import KeyObjectSelectionDocumentStorage

from medkit.batch.audit import AuditLog
from medkit.batch.delivery.deliver import Outcome, deliver
from medkit.batch.delivery.destinations import ArchiveDestination, Destination
from medkit.batch.folder import JobFolder
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Puller, Step
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.requests import Request
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, Policy, Result, Stage, State, StudyRecord
from medkit.batch.making import BundleShelf, Ended, MakingContext, make_study
from medkit.batch.rules import Rule
from medkit.batch.spool import Spool, SpoolLimits
from medkit.dicom.network.archive import Archive
from medkit.dicom.network.content import content_hash
from medkit.dicom.objects import ObjectUids, read_uids
from medkit.dicom.rejected import rejected_instances
from tests.batch.ledger.stories import Clock
from tests.batch.making.studies import RULE
from tests.servers.orthanc import Orthanc

POLICY = Policy(attempts=3, lease_seconds=600, delay_seconds=60)
PACS = "pacs"


class Batch:
    """All that a batch consists of; its clock stands until it is moved."""

    def __init__(self, folder: Path, shelf: BundleShelf, rules: Sequence[Rule] = (RULE,)) -> None:
        job = JobFolder(folder)
        folder.mkdir()
        self.folder, self.job, self.clock = folder, job, Clock()
        self.ledger = Ledger(job.ledger, "worker", POLICY, self.clock)
        self.spool = Spool(job.spool, SpoolLimits(free_bytes=0))
        self.audit = AuditLog(job.audit, "worker")
        self.intake = Intake(self.ledger, self.spool, self.audit)
        self.memory = Memory(job.work / "pull.sqlite")
        self.shelf, self.rules = shelf, rules

    def close(self) -> None:
        self.memory.close()
        self.ledger.close()

    def puller(self, archive: Archive, *requests: Request) -> Puller:
        options = {"policy": POLICY, "clock": self.clock, "quiet_seconds": 0}
        return Puller(archive, self.intake, requests, self.memory, **options)

    def pull(self, archive: Archive, *requests: Request) -> list[Step]:
        """Ask for studies until nothing is left to ask for."""
        puller, steps = self.puller(archive, *requests), []
        while (step := puller.step()) is not Step.IDLE:
            steps += [step] if step is not Step.SEARCHED else []
            assert len(steps) < 50
        return steps

    def complete(self) -> dict[str, int]:
        """Take what came for all that comes."""
        return settle(self.intake, 0).begun

    def make(self) -> Ended:
        claim = self.ledger.claim(Stage.MAKE)
        assert claim is not None
        given = {"rules": self.rules, "results": self.job.results, "destinations": (PACS,)}
        return make_study(claim, MakingContext(self.ledger, self.spool, shelf=self.shelf, **given))

    def deliver(self, destination: Archive | Destination, **options: int) -> Outcome:
        if not hasattr(destination, "withdraw"):
            destination = ArchiveDestination(destination, name=PACS)
        claim = self.ledger.claim(Stage.DELIVER)
        assert claim is not None
        results = self.job.results
        return deliver(claim, self.ledger, {PACS: destination}, results, self.audit, self.clock, **options)

    @property
    def record(self) -> StudyRecord:
        """The one study."""
        (record,) = self.ledger.studies()
        return record

    def results(self, revision: int | None = None) -> list[Result]:
        record = self.record
        return self.ledger.results(record.study, revision or record.revision)

    def events(self) -> list[dict[str, object]]:
        lines = "".join(path.read_text() for path in sorted(self.audit.folder.glob("*.jsonl")))
        return [json.loads(line) for line in lines.splitlines()]

    def check(self) -> None:
        """Nothing is wrong with what is kept, and no UID or name of a source is where none may be."""
        assert self.ledger.faults() == []
        assert self.audit.verify().broken is None
        told = b"".join(path.read_bytes() for path in self.folder.rglob("*") if _may_be_read(path, self.job))
        headers = [one.path for study in self.spool.studies() for one in self.spool.instances(study)]
        assert headers
        for path in headers:
            header = dcmread(path, stop_before_pixels=True)
            for secret in (header.StudyInstanceUID, header.SOPInstanceUID, header.PatientName):
                assert str(secret).encode() not in told


def _may_be_read(path: Path, job: JobFolder) -> bool:
    return path.is_file() and not path.is_relative_to(job.spool) and not path.is_relative_to(job.results)


@dataclass(frozen=True)
class Found:
    """What an Orthanc has, by SOP Instance UID, as files on the disk."""

    files: dict[str, Path]

    def hash(self, uid: str) -> str:
        return content_hash(self.files[uid])

    def header(self, uid: str) -> Dataset:
        return dcmread(self.files[uid], stop_before_pixels=True)

    @property
    def notes(self) -> dict[str, str]:
        """UID of what is rejected to that of its note."""
        kinds = {uid: self.header(uid).SOPClassUID for uid in self.files}
        notes = [uid for uid, kind in kinds.items() if kind == KeyObjectSelectionDocumentStorage]
        return {rejected: uid for uid in notes for rejected in rejected_instances(self.files[uid])}


def find_all(orthanc: Orthanc, folder: Path) -> Found:
    """Everything that is in an Orthanc, by its own interface and not by one that is tested."""
    folder.mkdir(exist_ok=True)
    files = {}
    for name in orthanc.ask("/instances"):
        path = folder / f"{name}.dcm"
        path.write_bytes(orthanc.ask(f"/instances/{name}/file"))
        files[read_uids(path).instance] = path
    return Found(files)


def put_all(orthanc: Orthanc, paths: Sequence[Path]) -> None:
    """Let an Orthanc have files, by its own interface."""
    for path in paths:
        orthanc.ask("/instances", "POST", data=path.read_bytes())


def dicom_files(folder: Path) -> list[Path]:
    """All DICOM files below a folder, in the order of their instance numbers."""
    found = [
        Path(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".dcm")
    ]
    assert found
    return sorted(found, key=lambda path: int(dcmread(path, stop_before_pixels=True).InstanceNumber))


def uids_of(paths: Sequence[Path]) -> dict[str, ObjectUids]:
    """UIDs of files, by that of the instance."""
    return {one.instance: one for one in map(read_uids, paths)}


def check_delivered(batch: Batch, archive: Archive, found: Found) -> None:
    """The study is delivered, and what is in the archive is what was made."""
    assert batch.record.state is State.DELIVERED
    results = batch.results()
    assert len(results) == 3
    for one in results:
        made = read_uids(batch.job.results / one.path)
        assert one.verified_at is not None
        assert found.hash(one.uid) == one.sha256
        assert content_hash(archive.read_back(made.study, made.series, made.instance)) == one.sha256
