"""Studies for whole services, and what has to hold when they are ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pydicom

from medkit.batch.audit import AuditLog
from medkit.batch.folder import JobFolder
from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerView, State
from tests.batch.making.studies import SHAPE, write_study

ROOT = "1.2.826.0.1.3680043.9.7777"


def study_uid(number: int) -> str:
    return f"{ROOT}.{number}"


def study_hash(number: int) -> str:
    return hash_uid(study_uid(number))


def write_numbered(folder: Path, number: int, shape: tuple[int, int, int] = SHAPE) -> Path:
    """A study of its own, with one MR series."""
    return give_number(write_study(folder, shape=shape, seed=number), number)


def give_number(folder: Path, number: int) -> Path:
    """Make the files of a study those of another, whose UIDs hold this number."""
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.StudyInstanceUID = study_uid(number)
        image.SeriesInstanceUID = f"{study_uid(number)}.1"
        uid = f"{study_uid(number)}.1.{image.InstanceNumber}"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        image.save_as(path)
    return folder


def check_delivered_once(job: JobFolder, delivered: Path) -> dict[str, State]:
    """See that what was delivered lies there whole and was delivered once; return the state of each study."""
    assert AuditLog(job.audit, "test").verify().broken is None
    with LedgerView(job.ledger) as view:
        assert view.faults() == []
        ends = Counter(
            (entry.study, entry.revision)
            for entry in view.history()
            if entry.after is State.DELIVERED and entry.before is not State.DELIVERED
        )
        records = view.studies()
        for record in records:
            ended = record.state is State.DELIVERED
            assert ends[record.study, record.revision] == ended
            due = {result.uid for result in view.results(record.study, record.revision)} if ended else set()
            assert {path.stem for path in (delivered / record.study).glob("*")} == due
    return {record.study: record.state for record in records}
