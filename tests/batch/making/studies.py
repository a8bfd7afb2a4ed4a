"""A desk with a store, a ledger and a bundle that predicts in no time, and studies to put into it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Ledger, Policy, Stage
from medkit.batch.making import BundleSettings, BundleShelf, MakingContext, make_study
from medkit.batch.rules import Criteria, Rule
from medkit.batch.spool import Spool, SpoolLimits
from tests.batch.ledger.stories import Clock
from tests.dicom.writing.sources import ROOT, rotation, write_series
from tests.phantoms import hippocampus
from tests.tiny_bundle import NAME

POLICY = Policy(attempts=3, lease_seconds=600)
SHAPE = (20, 18, 14)
OBLIQUE = rotation() @ np.array(
    [[-1.1, 0, 0, 12.25], [0, -0.9, 0, 7.5], [0, 0, 1.3, -8.125], [0, 0, 0, 1]], np.float64
)
RULE = Rule("any-mr", NAME, {"image": Criteria(frozenset({"MR"}))})
# What stands in the headers of `write_series`, and must stand nowhere else.
PATIENT = ("Doe", "Jane", "KP-4711", "19700101", "Roe", "Richard", "AKZ-17", ROOT)


@dataclass(frozen=True)
class Desk:
    """What the making of studies needs, with the clock that its ledger goes by."""

    context: MakingContext
    clock: Clock
    folder: Path

    @property
    def ledger(self) -> Ledger:
        return self.context.ledger

    @property
    def spool(self) -> Spool:
        return self.context.spool

    def with_(self, **changes: object) -> Desk:
        return replace(self, context=replace(self.context, **changes))

    def made(self) -> list[Path]:
        """Whatever lies in the folder of results."""
        found = self.context.results.rglob("*")
        return sorted(path for path in found if path.is_file())


def open_desk(folder: Path, shelf: BundleShelf, **changes) -> Desk:
    clock = Clock()
    ledger = Ledger(folder / "ledger.sqlite", "worker", POLICY, clock)
    spool = Spool(folder / "spool", SpoolLimits(free_bytes=0))
    given = {"rules": (RULE,), "results": folder / "results", "destinations": ("archive",)} | changes
    return Desk(MakingContext(ledger, spool, shelf=shelf, **given), clock, folder)


def shelf_of(location: Path, **options) -> BundleShelf:
    return BundleShelf({NAME: BundleSettings(location=location, **options)})


def write_study(folder: Path, shape=SHAPE, affine=OBLIQUE, seed: int = 0, **attributes) -> Path:
    """An MR series whose files lie in a random order, with a bright ellipsoid in its images."""
    array, _ = hippocampus(shape, affine, seed)
    write_series(folder, array, affine, order=False, **attributes)
    return folder


def another_series(folder: Path, name: str, number: int = 4, **options) -> Path:
    """One more series of the same study."""
    uid = f"{ROOT}.2.{number}"
    write_study(folder / name, SeriesInstanceUID=uid, SeriesNumber=number, **options)
    for place, path in enumerate(sorted((folder / name).iterdir()), 1):
        image = dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{place}"
        image.save_as(path)
    return folder


def store(desk: Desk, folder: Path) -> str:
    """Store all files below a folder as they come in; return the hash of their study."""
    for path in sorted(folder.rglob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True, force=True)
        uid = str(header.get("StudyInstanceUID", f"{ROOT}.1"))
        desk.ledger.receive(hash_uid(uid))
        with path.open("rb") as file:
            desk.spool.store(uid, str(header.get("SOPInstanceUID", f"{ROOT}.3.1")), file)
    return hash_uid(uid)


def claimed(desk: Desk, folder: Path | None = None):
    """A study that was stored and is claimed."""
    if folder is not None:
        store(desk, folder)
    for arrival in desk.ledger.arrivals():
        digest = desk.spool.digest(arrival.study)
        desk.ledger.complete(arrival, digest, len(desk.spool.instances(arrival.study)))
    claim = desk.ledger.claim(Stage.MAKE)
    assert claim is not None
    return claim


def deliver(desk, made):
    """Let the ledger know a study's results as delivered and verified."""
    claim = desk.ledger.claim(Stage.DELIVER)
    for one in made.results:
        desk.ledger.sending(claim, one.uid, one.destination)
        desk.ledger.sent(claim, one.uid, one.destination)
        desk.ledger.verified(claim, one.uid, one.destination, one.sha256)
    desk.ledger.delivered(claim)


def spoil(path, change):
    image = dcmread(path)
    change(image)
    image.save_as(path)


def check_ends(desk, claim, state, code, reason):
    """Make a study that cannot be made, and look at what is said of it and at what is left."""
    ended = make_study(claim, desk.context)
    record = desk.ledger.study(claim.study)
    assert (ended.state, ended.code, ended.results) == (state, code, ())
    assert (record.state, record.code, record.reason) == (state, code, ended.reason)
    assert re.search(reason, record.reason), record.reason
    kept = repr(desk.ledger.history()) + repr(desk.ledger.studies())
    assert not [word for word in PATIENT if word in kept]
    assert desk.made() == []
    return record
