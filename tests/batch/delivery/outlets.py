"""Results on disk and in a ledger, and an archive that fails in every way that is asked for."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from medkit.batch.audit import AuditLog
from medkit.batch.delivery.deliver import deliver
from medkit.batch.delivery.destinations import ArchiveDestination, FolderDestination
from medkit.batch.ledger import Ledger, Policy, Result, Stage
from medkit.dicom.network.archive import OF_ALL, ArchiveDown, ArchiveRefused, StudyMatch
from medkit.dicom.network.content import content_hash
from medkit.dicom.writing import save
from tests.batch.ledger.stories import STUDY, Clock, arrive

PATIENT = Policy(attempts=1000, lease_seconds=10, delay_seconds=5, longest_delay_seconds=40)
STUDY_UID = "1.2.3"
NOTE = "9"  # what the UID of a rejection note ends with


def a_result(uid: str, text: str = "well", kind: str = BasicTextSRStorage) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, f"{uid}1"
    dataset.PatientName, dataset.ImageComments = "Somebody^Some", text
    return dataset


def write_note(path: Path) -> Path:
    """The same note for the same result; the real one is tested where it is made."""
    uid = pydicom.dcmread(path).SOPInstanceUID
    note = path.with_name(f"{uid}.note.dcm")
    save(a_result(f"{uid}{NOTE}", f"rejects {uid}", KeyObjectSelectionDocumentStorage), note)
    return note


@dataclass
class FakeArchive:
    """Keeps objects in memory, as a process elsewhere would that is not killed with ours.

    Args:
        faults: what goes wrong with each next call of ``send`` and ``read_back``; nothing when they are used up.
    """

    name: str = "pacs"
    faults: list[str] = field(default_factory=list)
    objects: dict[str, Dataset] = field(default_factory=dict)
    sent: Counter = field(default_factory=Counter)
    calls: list[str] = field(default_factory=list)

    def echo(self):
        pass

    def find(self, filters):
        return [StudyMatch(STUDY_UID)]

    def counts(self, study_uid):
        assert study_uid == STUDY_UID
        return dict(Counter(one.SeriesInstanceUID for one in self.objects.values()))

    def retrieve(self, study_uid, take):
        return 0

    def send(self, paths):
        fault = self._fault("send")
        answers: dict[str, str | None] = {}
        for number, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            uid = str(dataset.SOPInstanceUID)
            if fault == "half" and number == len(paths) // 2:
                raise ArchiveDown("the connection was lost")
            answers[uid] = "no, thank you" if fault == "refuses-objects" else None
            if fault in ("refuses-objects", "lies"):
                continue
            self.sent[uid] += 1
            self.objects.setdefault(uid, dataset)  # an object that is there stays as it is
        if fault == "down-after":
            raise ArchiveDown("no answer came")
        if fault == "raises-after":
            raise RuntimeError("Somebody^Some")
        return {} if fault == "says-nothing" else answers

    def read_back(self, study_uid, series_uid, sop_uid):
        fault = self._fault("read_back")
        there = self.objects.get(sop_uid)
        if there is None or fault == "not-yet":
            return None
        if (study_uid, series_uid) != (there.StudyInstanceUID, there.SeriesInstanceUID):
            return None
        there = deepcopy(there)
        if fault == "garbles":
            there.ImageComments = "ill"
        return there

    def _fault(self, call):
        self.calls.append(call)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "down":
            raise ArchiveDown("nobody answers")
        if fault == "refuses":
            raise ArchiveRefused("not-for-you", "it said no")
        if fault in OF_ALL:
            raise ArchiveRefused(fault, "nobody may come in")
        if fault == "raises":
            raise RuntimeError("Somebody^Some")
        return fault


FAULTS = (
    *("", "down", "refuses", "raises", "half", "refuses-objects", "lies", "down-after", "raises-after"),
    *("says-nothing", "not-yet", "garbles"),
)


class Job:
    """A ledger with results of one study, and destinations for them."""

    def __init__(self, folder: Path, clock: Clock | None = None, policy: Policy = PATIENT) -> None:
        self.folder, self.clock, self.policy = folder, clock or Clock(), policy
        self.results = folder / "results"
        self.archive = FakeArchive()
        (folder / "out").mkdir(parents=True, exist_ok=True)
        self.destinations = {
            "pacs": ArchiveDestination(self.archive, write_note),
            "folder": FolderDestination("folder", folder / "out"),
        }
        self.open()

    def open(self) -> None:
        """As a process that starts."""
        self.ledger = Ledger(self.folder / "ledger.sqlite", "worker", self.policy, self.clock)
        self.audit = AuditLog(self.folder / "audit", "worker")

    def arrive(self, *instances: str) -> None:
        arrive(self.ledger, *instances)

    def make(self, *numbers: str, text: str = "well", destinations=("pacs", "folder")) -> list[Result]:
        """Make results of the study as it is; the same number with another text is another object under one UID."""
        claim = self.ledger.claim(Stage.MAKE)
        made = []
        for number in numbers:
            path = self.results / str(claim.revision) / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(a_result(f"2.25.{number}", text), path)
            relative = str(path.relative_to(self.results))
            made += [Result(f"2.25.{number}", name, content_hash(path), relative) for name in destinations]
        self.ledger.made(claim, made, "recipe")
        return made

    def deliver(self, claim=None, **options):
        claim = claim or self.ledger.claim(Stage.DELIVER)
        return deliver(claim, self.ledger, self.destinations, self.results, self.audit, self.clock, **options)

    def in_archive(self) -> dict[str, str]:
        """What counts there: objects for which there is no rejection note."""
        uids = set(self.archive.objects)
        return {
            uid: content_hash(dataset)
            for uid, dataset in self.archive.objects.items()
            if f"{uid}{NOTE}" not in uids and not uid.endswith(NOTE)
        }

    def in_folder(self) -> dict[str, str]:
        return {path.stem: content_hash(path) for path in (self.folder / "out").rglob("*") if path.is_file()}

    def events(self) -> list[str]:
        assert self.audit.verify().broken is None
        paths = sorted(self.audit.folder.glob("*.jsonl"))
        return [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines()]

    @property
    def record(self):
        return self.ledger.study(STUDY)
