"""A door with a real ledger, spool and audit log behind it, and small studies to bring to it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medkit.batch.audit import AuditLog
from medkit.batch.identity import hash_uid
from medkit.batch.intake.quiet import QuietTimes, Settled, settle
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, Policy
from medkit.batch.spool import Spool, SpoolLimits
from tests.batch.ledger.stories import POLICY, Clock
from tests.dicom_series.stacks import Stack, save

ROOMY = SpoolLimits(free_bytes=0)


def open_intake(
    folder: Path, clock: Clock, owner: str = "node", limits=ROOMY, policy: Policy = POLICY, **options
):
    """Everything anew, as a process that starts finds it."""
    ledger = Ledger(folder / "ledger.sqlite", owner, policy, clock)
    audit = AuditLog(folder / "audit", "test")
    return Intake(ledger, Spool(folder / "spool", limits, **options), audit, QuietTimes(clock))


def settle_after(intake: Intake, clock: Clock, seconds: float) -> Settled:
    """See what is there, and look again after so long."""
    settle(intake, seconds)
    clock.pass_by(seconds)
    return settle(intake, seconds)


def purge(intake: Intake, study: str) -> None:
    """Remove its instances, as a service does when their time is over."""
    intake.ledger.purged(study)
    intake.spool.discard(study, intake.ledger.at_end(study))


def put_back(kept: Path, folder: Path) -> None:
    """The ledger as the disk had it when its process was killed."""
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    for path in kept.iterdir():
        path.rename(folder / path.name)


def body(content: bytes = b"body") -> io.BytesIO:
    return io.BytesIO(bytes(128) + b"DICM" + content)


def events(intake: Intake) -> list[tuple[str, str | None]]:
    """What the audit log says: event and code."""
    assert intake.audit.verify().broken is None
    lines = [
        json.loads(line)
        for path in sorted(intake.audit.folder.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [(line["event"], line.get("code")) for line in lines]


@dataclass
class Study:
    """Files of one study, and what they hold."""

    uid: str
    paths: list[Path]
    datasets: list[Dataset]

    @property
    def hash(self) -> str:
        return hash_uid(self.uid)

    @property
    def series(self) -> str:
        return self.datasets[0].SeriesInstanceUID


def write_study(folder: Path, seed: int = 1, slices: int = 3) -> Study:
    """A CT of a few slices as ``IM0000.dcm`` and so on."""
    stack = Stack(np.random.default_rng(seed))
    datasets = stack.datasets[:slices]
    folder.mkdir(parents=True, exist_ok=True)
    first = len(list(folder.iterdir()))
    paths = [folder / f"IM{first + number:04}.dcm" for number in range(slices)]
    for path, dataset in zip(paths, datasets, strict=True):
        save(path, dataset)
    return Study(stack.identity.study, paths, datasets)
