"""An archive in memory with which anything may go wrong, and a puller on everything real but that."""

from __future__ import annotations

import io
from types import SimpleNamespace

from medkit.batch.identity import hash_uid
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Puller, Step
from medkit.batch.intake.requests import Request
from medkit.batch.ledger import Policy, State
from medkit.batch.spool import SpoolLimits
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused, StudyMatch
from tests.batch.intake.door import open_intake

PATIENT = Policy(attempts=1000, delay_seconds=1, longest_delay_seconds=4)


class FakeArchive:
    """Studies in memory, and what goes wrong with each next call."""

    def __init__(self, *studies):
        self.name = "pacs"
        self.studies = {study.uid: self.held(study) for study in studies}
        self.faults = []
        self.calls = []
        self.dead = False

    @staticmethod
    def held(study):
        files = zip(study.datasets, study.paths, strict=True)
        return {
            dataset.SOPInstanceUID: (dataset.SeriesInstanceUID, path.read_bytes()) for dataset, path in files
        }

    def echo(self):
        if self.dead:
            raise ArchiveDown("nobody answers")

    def find(self, filters):
        self.fault("find")
        if "AccessionNumber" in filters:
            return [StudyMatch(uid) for uid in self.studies if uid.endswith(filters["AccessionNumber"])]
        return [StudyMatch(uid) for uid in self.studies]

    def counts(self, study_uid):
        self.fault("counts")
        found = {}
        for series, _ in self.studies.get(study_uid, {}).values():
            found[series] = found.get(series, 0) + 1
        return found

    def retrieve(self, study_uid, take):
        fault = self.fault("retrieve")
        instances = list(self.studies[study_uid].items())
        for number, (uid, (_, content)) in enumerate(instances):
            if number == len(instances) - 1:
                if fault == "half":
                    raise ArchiveDown("the connection was lost")
                if fault == "incomplete":
                    raise ArchiveRefused("retrieve-incomplete", "1 of them failed")
                if fault == "short":
                    return number
                if fault == "crash":
                    raise OSError("the disk of this machine broke")
                if fault == "other":
                    take("1.9.9", uid, io.BytesIO(content))
            take(study_uid, uid, io.BytesIO(content))
            if fault == "twice":
                take(study_uid, uid, io.BytesIO(content))
        return len(instances)

    def send(self, paths):
        return {}

    def read_back(self, study_uid, series_uid, sop_uid):
        return None

    def fault(self, call):
        self.calls.append(call)
        fault = self.faults.pop(0) if self.faults else ""
        self.dead = fault == "down"
        if fault == "down":
            raise ArchiveDown("nobody answers")
        if fault == "refuse":
            raise ArchiveRefused("not-for-you", "it said no")
        return fault


FAULTS = ("", "down", "refuse", "half", "incomplete", "short", "crash", "other", "twice")


class Pull:
    """A puller on everything real but the archive."""

    def __init__(self, tmp_path, clock, archive, requests, **options):
        self.tmp_path, self.clock, self.archive, self.requests = tmp_path, clock, archive, requests
        self.limits = options.pop("limits", SpoolLimits(free_bytes=0))
        self.usage = options.pop("usage", lambda _: SimpleNamespace(free=1))
        self.options = {"policy": PATIENT, "round_seconds": 60, "quiet_seconds": 0} | options
        self.options = {"monotonic": clock, "sleep": clock.pass_by} | self.options
        self.start()

    def start(self):
        self.intake = open_intake(self.tmp_path / "job", self.clock, limits=self.limits, usage=self.usage)
        self.memory = Memory(self.tmp_path / "memory.sqlite")
        self.puller = Puller(
            self.archive, self.intake, self.requests, self.memory, clock=self.clock, **self.options
        )

    def stop(self):
        self.intake.ledger.close()
        self.memory.close()

    def steps(self):
        """Until it waits for something, searches aside."""
        found = []
        while True:
            step = self.puller.step()
            if step is Step.SEARCHED:
                continue
            found.append(step)
            if step not in (Step.PULLED, Step.UNCHANGED, Step.SEEN, Step.FAILED):
                return found

    def record(self, study):
        return self.intake.ledger.study(study.hash)

    def check_whole(self, *studies):
        """What may be made something of is all that the archive has, and the reader is told how much that is."""
        for study in studies:
            record = self.record(study)
            spool, held = self.intake.spool, self.archive.studies[study.uid]
            assert (record.state, record.arriving) == (State.READY, False)
            assert spool.missing(study.hash) == {}
            assert {one.instance for one in spool.instances(study.hash)} == set(map(hash_uid, held))
            assert record.digest == spool.digest(study.hash)


def by_uid(studies):
    return [Request(study.uid) for study in studies]


def growing(study, archive, count):
    """Let an archive have but the first instances of a study; give all of them."""
    whole = archive.studies[study.uid]
    archive.studies[study.uid] = dict(list(whole.items())[:count])
    return whole
