"""What is asked of an archive over DIMSE: Orthanc and DCMTK answer, and faulty ones that pynetdicom plays."""

from __future__ import annotations

import io
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.network.dimse import DimseArchive, MoveTarget
from medkit.dicom.network.node import StorageNode
from medkit.dicom.network.tls import TlsFiles
from medkit.errors import UsageError
from tests.dicom.network.conftest import write_study
from tests.dicom.network.takers import Taken
from tests.dicom.network.test_node import data_set
from tests.servers.dcmtk import storescp_in
from tests.servers.loopback import free_port
from tests.servers.orthanc import orthanc_in


def archive_of(orthanc, **more) -> DimseArchive:
    return DimseArchive(orthanc.host, orthanc.dicom_port, orthanc.ae_title, **more)


def uids(path) -> tuple[str, str, str]:
    dataset = pydicom.dcmread(path)
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


class Keep(dict):
    """Keeps the files that it is given, by SOP Instance UID."""

    def __call__(self, study, instance, file):
        self[instance] = file.read()


def test_what_is_sent_is_found_counted_and_read_back(orthanc, study):
    archive = archive_of(orthanc)
    archive.echo()
    study_uid, series_uid, sop_uid = uids(study[0])
    assert archive.find({"StudyInstanceUID": study_uid}) == []
    assert archive.counts(study_uid) == {}
    assert archive.read_back(study_uid, series_uid, sop_uid) is None
    assert archive.send(study) == {uids(path)[2]: None for path in study}
    (match,) = archive.find({"StudyInstanceUID": study_uid})
    assert (match.study_uid, match.instances) == (study_uid, len(study))
    assert archive.counts(study_uid) == {series_uid: len(study)}
    for path in study:
        assert content_hash(archive.read_back(*uids(path))) == content_hash(path)


def test_studies_are_found_by_wildcards_ranges_and_letters_of_any_kind(orthanc, study):
    for path in study:
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName, dataset.StudyDescription, dataset.StudyDate = (
            "Ωmega^Иван",
            "Größe des Kopfes",
            "20260115",
        )
        dataset.save_as(path)
    archive = archive_of(orthanc)
    archive.send(study)
    found = [uids(study[0])[0]]

    def by(**filters):
        return [match.study_uid for match in archive.find(filters)]

    assert by(StudyDate="20260101-20260131", ModalitiesInStudy="CT") == found
    assert by(StudyDate="20260201-") == []
    assert by(StudyDescription="Größe*") == found
    assert by(PatientName="Ωmega^Иван") == found
    assert by(ModalitiesInStudy="MR") == []
    with pytest.raises(UsageError, match="StudyDte"):
        by(StudyDte="20260101")


def test_a_study_is_retrieved_as_it_is_stored(orthanc, study):
    for number, path in enumerate(study[:3]):
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.Columns = 32, 32
        dataset.PixelData = np.arange(32 * 32, dtype="<u2").tobytes()
        if number == 0:
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif number == 1:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True)
    archive, came = archive_of(orthanc), Keep()
    assert set(archive.send(study).values()) == {None}
    assert archive.retrieve(uids(study[0])[0], came) == len(study)
    for path in study:
        file = came[uids(path)[2]]
        assert (
            pydicom.dcmread(io.BytesIO(file)).file_meta.TransferSyntaxUID
            == pydicom.dcmread(path).file_meta.TransferSyntaxUID
        )
        assert data_set(file) == data_set(path.read_bytes())


def test_series_of_several_kinds_come_together(orthanc, study, tmp_path):
    other = write_study(tmp_path / "other", seed=9, modality="MR")
    for path in other:
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = uids(study[0])[0]
        dataset.save_as(path)
    archive, came = archive_of(orthanc), Keep()
    archive.send([*study, *other])
    assert sorted(archive.counts(uids(study[0])[0]).values()) == [len(other), len(study)]
    assert archive.retrieve(uids(study[0])[0], came) == len(came) == len(study) + len(other)


def test_an_unknown_study_has_nothing(orthanc):
    assert archive_of(orthanc).retrieve("1.2.3.4", Keep()) == 0


def test_what_the_taker_raises_comes_through_and_ends_the_transfer(orthanc, study):
    came = []

    def take(study_uid, instance, file):
        came.append(instance)
        if len(came) == 2:
            raise OSError("the disk is full")

    archive = archive_of(orthanc)
    archive.send(study)
    with pytest.raises(OSError, match="the disk is full"):
        archive.retrieve(uids(study[0])[0], take)
    assert len(came) == 2
    archive.echo()


def test_an_archive_without_c_get_moves_to_a_node_of_ours(loopback, study, tmp_path):
    port = free_port()
    modalities = {"us": ["MOVED", "127.0.0.1", port]}
    with orthanc_in(tmp_path / "orthanc", DicomModalities=modalities, DicomAlwaysAllowGet=False) as server:
        target = MoveTarget("MOVED", port)
        archive, came = archive_of(server, move=target), Keep()
        archive.send(study)
        assert archive.retrieve(uids(study[0])[0], came) == len(came) == len(study)
        assert content_hash(archive.read_back(*uids(study[0]))) == content_hash(study[0])
        with pytest.raises((ArchiveDown, ArchiveRefused)):  # this Orthanc breaks off
            archive_of(server).retrieve(uids(study[0])[0], Keep())


def test_the_same_uid_with_other_content_is_seen_when_read_back(orthanc, study):
    archive = archive_of(orthanc)
    archive.send(study[:1])
    before = content_hash(study[0])
    dataset = pydicom.dcmread(study[0])
    dataset.SeriesDescription = "another one"
    dataset.save_as(study[0])
    assert list(archive.send(study[:1]).values()) == [None], "Orthanc says yes, and keeps the old one"
    assert content_hash(archive.read_back(*uids(study[0]))) == before != content_hash(study[0])


def test_dcmtk_takes_files_as_they_are(loopback, study, tmp_path):
    with storescp_in(tmp_path / "came", "+xa", "+B") as server:
        archive = DimseArchive("127.0.0.1", server.port, server.ae_title)
        assert set(archive.send(study).values()) == {None}
    came = {pydicom.dcmread(path).SOPInstanceUID: path for path in server.folder.iterdir()}
    assert all(data_set(came[uids(path)[2]].read_bytes()) == data_set(path.read_bytes()) for path in study)


def test_an_archive_of_implicit_vr_alone_gets_that_and_no_compressed_file(loopback, study, tmp_path):
    dataset = pydicom.dcmread(study[1])
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(study[1])
    with storescp_in(tmp_path / "came", "+xi") as server:
        answers = DimseArchive("127.0.0.1", server.port, server.ae_title).send(study[:2])
    assert answers[uids(study[0])[2]] is None
    assert "CT Image Storage in RLE Lossless, got no offer" in answers[uids(study[1])[2]]
    (path,) = server.folder.iterdir()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert content_hash(path) == content_hash(study[0])


def test_over_tls_dcmtk_and_we_know_each_other(loopback, study, tmp_path, certificates):
    server, client = certificates.server, certificates.client
    options = ["+tls", server.key, server.certificate, "+cf", server.authority]
    with storescp_in(tmp_path / "came", *map(str, options)) as running:
        archive = DimseArchive("127.0.0.1", running.port, running.ae_title, tls=client)
        archive.echo()
        assert set(archive.send(study).values()) == {None}
        for tls in (None, certificates.stranger):
            with pytest.raises(ArchiveDown):
                DimseArchive("127.0.0.1", running.port, running.ae_title, tls=tls, seconds=5).echo()


def test_a_certificate_of_another_name_is_not_trusted(certificates):
    with StorageNode("MEDKIT", Taken(), ["US"], port=0, tls=certificates.server) as node:
        DimseArchive("localhost", node.port, "MEDKIT", "US", tls=certificates.client).echo()
    with StorageNode("MEDKIT", Taken(), ["US"], host="127.0.0.2", port=0, tls=certificates.server) as node:
        archive = DimseArchive("127.0.0.2", node.port, "MEDKIT", "US", tls=certificates.client)
        with pytest.raises(ArchiveDown, match=r"certificate is not valid for '127\.0\.0\.2'") as caught:
            archive.echo()
    assert caught.value.code == "tls-failed"


def test_an_archive_that_does_not_trust_us_is_told_apart_from_nobody(certificates):
    anonymous = TlsFiles(authority=certificates.client.authority)
    with (
        StorageNode("MEDKIT", Taken(), ["US"], port=0, tls=certificates.server) as node,
        pytest.raises(ArchiveDown, match="got: TLSV13_ALERT_CERTIFICATE_REQUIRED") as caught,
    ):
        DimseArchive("127.0.0.1", node.port, "MEDKIT", "US", tls=anonymous).echo()
    assert caught.value.code == "tls-failed"


def test_who_speaks_no_tls_is_told_apart_from_nobody(certificates):
    with StorageNode("MEDKIT", Taken(), ["US"], port=0) as node, pytest.raises(ArchiveDown) as caught:
        DimseArchive("127.0.0.1", node.port, "MEDKIT", "US", tls=certificates.client, seconds=5).echo()
    assert caught.value.code == "tls-failed"
    with pytest.raises(ArchiveDown, match="nobody who answers") as caught:
        DimseArchive("127.0.0.1", free_port(), "MEDKIT", "US", tls=certificates.client).echo()
    assert caught.value.code == "archive-down"


def test_nobody_there_is_down_and_a_wrong_title_is_refused(orthanc):
    with pytest.raises(ArchiveDown, match="got nobody who answers"):
        DimseArchive("127.0.0.1", free_port(), "PACS").echo()
    with pytest.raises(ArchiveDown, match="expected an answer"):
        DimseArchive("no-such-host.invalid", 104, "PACS").echo()
    with pytest.raises(ArchiveRefused, match="its AE title is another one") as caught:
        DimseArchive("127.0.0.1", orthanc.dicom_port, "OTHER").echo()
    assert caught.value.code == "association-rejected"
    with pytest.raises(UsageError, match="AE title"):
        DimseArchive("127.0.0.1", 104, "")


def test_services_that_are_not_offered_are_told(loopback, study, tmp_path):
    with storescp_in(tmp_path / "came") as server:
        with pytest.raises(ArchiveRefused) as caught:
            DimseArchive("127.0.0.1", server.port, server.ae_title).find({})
        assert caught.value.code == "not-offered"


def test_what_is_no_dicom_file_is_not_sent(tmp_path):
    (tmp_path / "a.dcm").write_text("no DICOM")
    with pytest.raises(UsageError, match="expected a DICOM file to send"):
        DimseArchive("127.0.0.1", 104, "PACS").send([tmp_path / "a.dcm"])


@contextmanager
def faulty(**handlers):
    """An archive that answers as it is told."""
    entity = AE("PACS")
    for model in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        Verification,
    ):
        entity.add_supported_context(model)
    entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian], scu_role=True, scp_role=True)
    bound = [(getattr(evt, name), handler) for name, handler in handlers.items()]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    try:
        yield DimseArchive("127.0.0.1", server.server_address[1], "PACS", seconds=5)
    finally:
        entity.shutdown()


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF])
def test_out_of_resources_is_down(study, status):
    with (
        faulty(EVT_C_STORE=lambda event: status) as archive,
        pytest.raises(ArchiveDown, match="out of resources"),
    ):
        archive.send(study[:1])


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0110, 0x0122])
def test_a_refusal_is_told_object_by_object(study, status):
    answers = iter([0x0000, status, 0xB000])
    with faulty(EVT_C_STORE=lambda event: next(answers)) as archive:
        first, second, third = archive.send(study[:3]).values()
    assert (first, third) == (None, None)
    assert f"0x{status:04X}" in second


def test_an_archive_that_breaks_off_is_down(study):
    with faulty(EVT_C_STORE=lambda event: event.assoc.abort() or 0) as archive, pytest.raises(ArchiveDown):
        archive.send(study[:2])


def listing(study, ask=lambda event: None):
    """Finds the instances of a study as they are."""

    def find(event):
        ask(event)
        level = event.identifier.QueryRetrieveLevel
        for path in study if level == "IMAGE" else study[:1]:
            dataset, answer = pydicom.dcmread(path), Dataset()
            answer.StudyInstanceUID, answer.SeriesInstanceUID = (
                dataset.StudyInstanceUID,
                dataset.SeriesInstanceUID,
            )
            answer.SOPInstanceUID, answer.SOPClassUID = dataset.SOPInstanceUID, dataset.SOPClassUID
            yield 0xFF00, answer

    return find


def test_a_transfer_that_lacks_an_instance_is_refused(study):
    def get(event):
        yield len(study) - 1
        for path in study[1:]:
            yield 0xFF00, pydicom.dcmread(path)

    came = Keep()
    with faulty(EVT_C_FIND=listing(study), EVT_C_GET=get) as archive, pytest.raises(ArchiveRefused) as caught:
        archive.retrieve(uids(study[0])[0], came)
    assert caught.value.code == "retrieve-incomplete"
    assert "got all but 1" in str(caught.value)
    assert uids(study[0])[0] not in str(caught.value)
    assert len(came) == len(study) - 1


def test_an_instance_of_another_study_is_not_taken(study):
    def get(event):
        yield 1
        stranger = pydicom.dcmread(study[0])
        stranger.StudyInstanceUID = "9.9.9"
        yield 0xFF00, stranger

    came = Keep()
    with faulty(EVT_C_FIND=listing(study[:1]), EVT_C_GET=get) as archive, pytest.raises(ArchiveRefused):
        archive.retrieve(uids(study[0])[0], came)
    assert came == {}


def test_series_without_a_number_are_counted(study):
    with faulty(EVT_C_FIND=listing(study)) as archive:
        assert archive.counts(uids(study[0])[0]) == {uids(study[0])[1]: len(study)}


def raw(**values: bytes):
    """Answers with such bytes as values, whatever they should be."""

    def find(event):
        answer = Dataset()
        for keyword, value in values.items():
            answer.add(RawDataElement(Tag(keyword), "UN", len(value), value, 0, True, True))
        yield 0xFF00, answer

    return find


@pytest.mark.parametrize(
    ("said", "ask"),
    [
        (
            {"StudyInstanceUID": b"1.2", "NumberOfStudyRelatedInstances": b"many"},
            lambda archive: archive.find({"PatientID": "1"}),
        ),
        (
            {"SeriesInstanceUID": b"1.2", "NumberOfSeriesRelatedInstances": b"1.5 "},
            lambda archive: archive.counts("1"),
        ),
        ({"StudyInstanceUID": b"1.2"}, lambda archive: archive.read_back("1", "2", "3")),
    ],
)
def test_an_answer_that_is_none_is_refused(said, ask):
    with faulty(EVT_C_FIND=raw(**said)) as archive, pytest.raises(ArchiveRefused) as caught:
        ask(archive)
    assert caught.value.code == "answer-unreadable"


def test_a_series_without_a_uid_has_nothing():
    with faulty(EVT_C_FIND=raw(StudyInstanceUID=b"1.2")) as archive:
        assert archive.counts("1.2") == {}
        assert archive.retrieve("1.2", Keep()) == 0


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, ArchiveDown), (0xC001, ArchiveRefused), (0xA900, ArchiveRefused)]
)
def test_a_query_that_fails_is_told(status, error):
    def find(event):
        yield status, None

    with faulty(EVT_C_FIND=find) as archive, pytest.raises(error):
        archive.find({"StudyDate": "20260101"})


def test_a_filter_that_was_not_looked_at_is_told():
    def find(event):
        answer = Dataset()
        answer.StudyInstanceUID = "1.2"
        yield 0xFF01, answer

    with (
        faulty(EVT_C_FIND=find) as archive,
        pytest.raises(ArchiveRefused, match="ModalitiesInStudy was not looked at"),
    ):
        archive.find({"ModalitiesInStudy": "CT"})
