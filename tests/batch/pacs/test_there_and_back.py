"""A study travels from an archive to its results and back into the archive, over DIMSE and over DICOMweb."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
from pydicom import dcmread

from medkit.batch.delivery.deliver import Outcome
from medkit.batch.intake.pull import Step
from medkit.batch.intake.requests import Request, filter_request
from medkit.batch.ledger import State
from medkit.batch.rules import Criteria
from medkit.dicom.network.node import StorageNode
from tests.batch.making.studies import RULE
from tests.batch.pacs.hospital import Batch, check_delivered, dicom_files, find_all, put_all, uids_of
from tests.dicom.writing import oracles
from tests.servers.dcmtk import storescu


def travel(batch, archive, orthanc, sources, tmp_path):
    """There and back; what the archive has in the end."""
    put_all(orthanc, sources)
    study_uid = dcmread(sources[0]).StudyInstanceUID
    assert batch.pull(archive, Request(study_uid=study_uid)) == [Step.PULLED]
    assert sum(batch.spool.expected(batch.record.study).values()) == len(sources)
    assert batch.make().state is State.MADE
    assert batch.deliver(archive) is Outcome.DELIVERED
    found = find_all(orthanc, tmp_path / "found")
    check_delivered(batch, archive, found)
    assert found.files.keys() == {*uids_of(sources), *(one.uid for one in batch.results())}
    for uid in found.files:
        assert found.header(uid).StudyInstanceUID == study_uid
        assert found.header(uid).PatientID == dcmread(sources[0]).PatientID
    return found


def segments(batch, found):
    """The voxels of the segmentation that the archive has, as highdicom reads them."""
    (uid,) = [one.uid for one in batch.results() if found.header(one.uid).Modality == "SEG"]
    assert oracles.errors(found.files[uid]) == []
    return oracles.by_highdicom(found.files[uid])


def test_a_study_travels_there_and_back(batch, connect, orthanc, study, tmp_path, tool):
    tool("dciodvfy")
    archive = connect(orthanc)
    found = travel(batch, archive, orthanc, dicom_files(study), tmp_path)
    labels, _ = segments(batch, found)
    assert np.any(labels)
    everything = filter_request({"ModalitiesInStudy": "MR"})
    assert batch.pull(archive, everything) == [Step.PULLED], "the archive has more of it now: our results"
    record = batch.record
    assert (record.revision, record.state, record.arriving) == (1, State.DELIVERED, False)
    assert len(batch.spool.instances(record.study)) == len(dicom_files(study))


def test_a_real_study_travels_there_and_back(tmp_path, shelf, connect, orthanc, real_data, tool):
    tool("dciodvfy")
    wanted = Criteria(frozenset({"MR"}), series_description=re.compile("tfl_3d"))
    batch = Batch(tmp_path / "batch", shelf, [replace(RULE, inputs={"image": wanted})])
    sources = dicom_files(real_data / "dicom" / "prostatex_0000")
    found = travel(batch, connect(orthanc), orthanc, sources, tmp_path)
    labels, _ = segments(batch, found)
    assert labels.shape == (16, 128, 128)
    batch.check()
    batch.close()


def test_a_study_that_dcmtk_sends_goes_to_the_archive(batch, connect, orthanc, study, tmp_path):
    archive = connect(orthanc)
    sources = dicom_files(study)
    with StorageNode("MEDKIT", batch.intake.answer, ["SCANNER"], port=0) as node:
        assert storescu(node.port, sources).returncode == 0
        assert storescu(node.port, sources, caller="STRANGER").returncode != 0
        study_hash = batch.record.study
        assert batch.complete() == {study_hash: 1}
        assert batch.make().state is State.MADE
        assert batch.deliver(archive) is Outcome.DELIVERED
        found = find_all(orthanc, tmp_path / "found")
        check_delivered(batch, archive, found)
        results = [found.files[one.uid] for one in batch.results()]
        assert storescu(node.port, [*sources, *results], "-R").returncode == 0, "of any class"
    assert batch.complete() == {}, "neither the same images nor our own results are anything new"
    assert (batch.record.revision, batch.record.state) == (1, State.DELIVERED)


def test_a_study_of_which_the_archive_lost_a_slice_is_refused(batch, connect, orthanc, study, tmp_path):
    """The archive counts what it has; slices that it never had show by the gap that they leave."""
    folder = shutil.copytree(study, tmp_path / "gap")
    sources = dicom_files(folder)
    by_place = sorted(sources, key=lambda path: dcmread(path).ImagePositionPatient[2])
    by_place[6].unlink()
    sources.remove(by_place[6])
    put_all(orthanc, sources)
    archive = connect(orthanc)
    study_uid = dcmread(sources[0]).StudyInstanceUID
    assert batch.pull(archive, Request(study_uid=study_uid)) == [Step.PULLED]
    ended = batch.make()
    assert (ended.state, ended.code) == (State.REFUSED, "gap")
    assert find_all(orthanc, tmp_path / "found").files.keys() == uids_of(sources).keys()
