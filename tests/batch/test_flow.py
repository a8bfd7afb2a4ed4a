"""A study goes from a folder to a folder, made by a stand-in for a bundle, and again with late slices."""

from __future__ import annotations

import numpy as np
import pydicom

from medkit.batch.audit import AuditLog
from medkit.batch.delivery.deliver import Outcome, deliver
from medkit.batch.delivery.destinations import FolderDestination
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, Result, Stage, State
from medkit.batch.spool import Spool, SpoolLimits
from medkit.dicom import read
from medkit.dicom.network.content import content_hash
from medkit.dicom.objects import read_uids
from medkit.dicom.writing import ResultKind, write_results
from tests.batch.intake.door import write_study
from tests.dicom.writing.sources import MAKER


def make(ledger, spool, results, claim):
    """Threshold the one volume of a study, and write what a bundle's result becomes."""
    assert spool.missing(claim.study) == {}
    assert spool.conflicts(claim.study) == spool.damaged(claim.study) == []
    reading = read([one.path for one in spool.instances(claim.study)], expected=spool.expected(claim.study))
    (volume,) = reading.volumes
    assert not reading.refused
    labels = (volume.array > np.median(volume.array)).astype(np.uint8)
    folder = results / claim.study / str(claim.revision)
    paths = write_results(
        volume, labels, volume.affine, MAKER, folder, kinds=[ResultKind.SEGMENTATION, ResultKind.REPORT]
    )
    made = [
        Result(read_uids(path).instance, "folder", content_hash(path), str(path.relative_to(results)))
        for path in paths.values()
    ]
    ledger.made(claim, made, "recipe")
    return labels


def test_a_study_travels_from_a_folder_to_a_folder_and_again_with_late_slices(tmp_path):
    study = write_study(tmp_path / "in", slices=7)
    late = [path.rename(tmp_path / path.name) for path in study.paths[5:]]
    results, out = tmp_path / "results", tmp_path / "out"
    out.mkdir()
    with Ledger(tmp_path / "ledger.sqlite", "all") as ledger:
        audit = AuditLog(tmp_path / "audit", "all")
        intake = Intake(ledger, Spool(tmp_path / "spool", SpoolLimits(free_bytes=0)), audit)
        destinations = {"folder": FolderDestination("folder", out)}
        before: set[str] = set()
        for revision, slices in ((1, 5), (2, 7)):
            assert take_folder(tmp_path / "in", intake).begun == {study.hash: revision}
            labels = make(ledger, intake.spool, results, ledger.claim(Stage.MAKE))
            claim = ledger.claim(Stage.DELIVER)
            assert deliver(claim, ledger, destinations, results, audit) is Outcome.DELIVERED
            assert ledger.study(study.hash).state is State.DELIVERED
            files = {path.stem: path for path in out.rglob("*.dcm")}
            assert files.keys() == {one.uid for one in ledger.results(study.hash, revision)}
            assert not before & files.keys(), "what was made of fewer slices is gone"
            before = set(files)
            (segmentation,) = [
                dataset for dataset in map(pydicom.dcmread, files.values()) if dataset.Modality == "SEG"
            ]
            assert segmentation.StudyInstanceUID == study.uid
            assert segmentation.pixel_array.sum() == labels.sum()
            assert labels.shape[2] == slices
            if revision == 1:
                for path in late:
                    path.rename(tmp_path / "in" / path.name)
        assert take_folder(tmp_path / "in", intake).unchanged == [study.hash]
        assert take_folder(out, intake).own == 2, "own results that come back change nothing"
        assert ledger.study(study.hash).state is State.DELIVERED
        assert ledger.withdrawals() == ledger.faults() == []
        assert audit.verify().broken is None
        written = b"".join(path.read_bytes() for path in (tmp_path / "audit").iterdir())
        ledger_bytes = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.sqlite*"))
    for secret in (study.uid, study.series, str(study.datasets[0].PatientName), study.datasets[0].PatientID):
        assert secret.encode() not in written + ledger_bytes
