"""Slices that arrive late supersede what was made of fewer: its objects are rejected before the later ones are sent."""

from __future__ import annotations

from pydicom import dcmread

from medkit.batch.delivery.deliver import Outcome
from medkit.batch.delivery.destinations import ArchiveDestination
from medkit.batch.delivery.withdrawing import withdraw_due
from medkit.batch.intake.pull import Step
from medkit.batch.intake.requests import filter_request
from medkit.batch.ledger import State
from medkit.dicom.network.node import StorageNode
from medkit.dicom.network.rejection import rejection_uid
from tests.batch.pacs.hospital import PACS, check_delivered, dicom_files, find_all, put_all, uids_of
from tests.dicom.writing import oracles
from tests.servers.dcmtk import storescu


def by_place(study):
    return sorted(dicom_files(study), key=lambda path: dcmread(path).ImagePositionPatient[2])


def test_late_slices_supersede(batch, connect, orthanc, study, tmp_path, tool):
    tool("dciodvfy")
    archive, sources = connect(orthanc), by_place(study)
    with StorageNode("MEDKIT", batch.intake.answer, ["SCANNER"], port=0) as node:
        for number, some in ((1, sources[:10]), (2, sources[10:])):
            assert storescu(node.port, some).returncode == 0
            assert batch.complete() == {batch.record.study: number}
            assert batch.make().state is State.MADE
            assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
    found = find_all(orthanc, tmp_path / "found")
    check_delivered(batch, archive, found)
    earlier = {one.uid for one in batch.results(1)}
    later = {one.uid for one in batch.results(2)}
    assert not earlier & later
    assert found.notes == {uid: rejection_uid([uid]) for uid in earlier}
    assert found.files.keys() == earlier | later | set(found.notes.values())
    for uid in found.notes.values():
        assert oracles.errors(found.files[uid]) == []
        assert found.header(uid).PatientID == dcmread(sources[0]).PatientID
    told = [(event["event"], event["uid"]) for event in batch.events() if "uid" in event]
    withdrawn = [told.index(("object-withdrawn", uid)) for uid in earlier]
    assert max(withdrawn) < min(told.index(("object-sending", uid)) for uid in later)
    assert batch.ledger.withdrawals() == []


def test_notes_and_results_that_are_pulled_again_change_nothing(batch, connect, orthanc, study, tmp_path):
    archive, sources = connect(orthanc), by_place(study)
    request = filter_request({"ModalitiesInStudy": "MR"})
    for number, some in ((1, sources[:10]), (2, sources[10:])):
        put_all(orthanc, some)
        assert batch.pull(archive, request) == [Step.PULLED]
        assert batch.record.revision == number
        assert batch.make().state is State.MADE
        assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
    found = find_all(orthanc, tmp_path / "found")
    assert len(found.notes) == 3
    assert batch.pull(archive, request) == [Step.PULLED], "counts have changed, by what is ours"
    record = batch.record
    assert (record.revision, record.state, record.arriving) == (2, State.DELIVERED, False)
    assert {one.instance for one in batch.spool.instances(record.study)} == hashes(sources)
    assert batch.pull(archive, request) == [Step.UNCHANGED]


def test_a_study_that_its_archive_rejects_has_no_results_left(batch, connect, orthanc, study, tmp_path):
    """Of a study that is refused later nothing may stay: no later delivery withdraws it, but the periodic call."""
    archive, sources = connect(orthanc), by_place(study)
    with StorageNode("MEDKIT", batch.intake.answer, ["SCANNER"], port=0) as node:
        assert storescu(node.port, sources[:10]).returncode == 0
        batch.complete()
        batch.make()
        assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
        assert storescu(node.port, sources[12:]).returncode == 0  # 2 slices never come
    batch.complete()
    assert batch.make().code == "gap"
    due = {one.uid for one in batch.ledger.withdrawals()}
    assert due == {one.uid for one in batch.results(1)}
    destinations = {PACS: ArchiveDestination(archive, name=PACS)}
    for _ in range(2):  # the second time there is nothing to do
        assert withdraw_due(batch.ledger, destinations, batch.job.results, batch.audit) == []
    assert find_all(orthanc, tmp_path / "found").notes.keys() == due
    assert batch.record.state is State.REFUSED


def hashes(paths):
    from medkit.batch.identity import hash_uid

    return {hash_uid(uid) for uid in uids_of(paths)}
