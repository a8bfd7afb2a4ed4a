"""Results about nobody: those of the images as ``medkit dicom deidentify`` writes them, with nothing of a patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from medkit.dicom import read
from medkit.dicom.confidentiality import Deidentifier
from medkit.dicom.deidentification import deidentify
from medkit.dicom.findings import Finding
from medkit.dicom.network.rejection import write_rejection_note
from medkit.dicom.writing.results import write_results
from medkit.errors import CaseError
from tests.dicom.phi import marked_image
from tests.dicom.writing.sources import MAKER, geometry, some_labels, write_series
from tests.dicom_series import make
from tests.dicom_series.stacks import Stack, save

KEY = b"sixteen bytes or"
NOBODY = Deidentifier(KEY)
PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711-X",
    "IssuerOfPatientID": "ELSEWHERE",
    "OtherPatientIDs": "1234-987",
    "PatientBirthDate": "19310207",
    "ReferringPhysicianName": "Quincy^M",
    "InstitutionName": "Saint Elsewhere",
    "DeviceSerialNumber": "SN998877",
    "AccessionNumber": "ACC0815",
    "StudyDescription": "head of Jane",
    "StudyDate": "20190314",
    "SeriesDate": "20190314",
}


def results(volume, folder, **options):
    """What the files of the results of a volume hold, by their kinds."""
    paths = write_results(volume, some_labels(volume.array.shape), volume.affine, MAKER, folder, **options)
    return {kind: path.read_bytes() for kind, path in paths.items()}


@pytest.mark.parametrize(
    "kind", ["far-oblique", "tilt", "enhanced-mr", "enhanced-ct", "echoes-interleaved", "dose-and-ct"]
)
@pytest.mark.parametrize("shift_dates", [False, True])
def test_they_are_those_of_the_deidentified_images(kind, shift_dates, tmp_path):
    deidentifier = Deidentifier(KEY, shift_dates=shift_dates)
    make(kind, tmp_path / "in")
    deidentify(tmp_path / "in", tmp_path / "nobody", deidentifier)
    options = {"allow_sheared": True}
    ours = [
        results(
            replace(volume, notes=()), tmp_path / "ours" / str(number), deidentifier=deidentifier, **options
        )
        for number, volume in enumerate(read(tmp_path / "in").volumes)
    ]
    theirs = [
        results(replace(volume, notes=()), tmp_path / "theirs" / str(number), **options)
        for number, volume in enumerate(read(tmp_path / "nobody").volumes)
    ]
    assert len(ours) == len(theirs) > 0
    assert all(one in theirs for one in ours)


@pytest.fixture
def person(tmp_path):
    """A volume of somebody."""
    array, affine = geometry("SAL", oblique=True)
    return write_series(tmp_path / "in", array, affine, order=False, **PERSON)


def test_they_say_that_they_are_nobodys_and_are_valid(person, tmp_path, errors):
    results(person, tmp_path / "out", deidentifier=NOBODY)
    for path in sorted((tmp_path / "out").iterdir()):
        made, content = dcmread(path), path.read_bytes()
        assert (made.PatientIdentityRemoved, made.StudyDate) == ("YES", "")
        assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert made.LongitudinalTemporalInformationModified == "REMOVED"
        assert made.PatientID == NOBODY.pseudonym(dcmread(person.frames[0].path))
        uids = [person.series_instance_uid, person.study_instance_uid]
        uids += [frame.sop_instance_uid for frame in person.frames]
        for text in (*PERSON.values(), *uids):
            assert text.encode() not in content
        assert errors(path) == []


def test_nothing_survives_of_all_that_the_standard_names(tmp_path):
    marks = marked_image()
    path = tmp_path / "one.dcm"
    save(path, Stack(np.random.default_rng(0)).datasets[0])
    (volume,) = read(path).volumes
    save(path, marks.dataset)  # the same image, with something of a person wherever that can be
    frame = replace(volume.frames[0], sop_instance_uid=str(marks.dataset.SOPInstanceUID))
    volume = replace(volume, frames=(frame,))
    ours, nobodys = (
        b"".join(results(volume, tmp_path / str(deidentifier), deidentifier=deidentifier).values())
        for deidentifier in (None, NOBODY)
    )
    assert len([mark for mark in marks.marks if mark in ours]) > 10
    assert [mark for mark in marks.marks if mark in nobodys] == []


def test_of_the_readers_remarks_the_codes_stay(person, tmp_path):
    notes = (Finding("side-by-side", "filter=Doe Jane beside filter=X"), Finding("lossy", "of Doe"))
    volume = replace(person, notes=notes)
    made = results(volume, tmp_path / "nobody", deidentifier=NOBODY)
    assert b"lossy, side-by-side" in made["sr"]
    assert b"Doe" not in b"".join(made.values())
    assert b"filter=Doe Jane" in results(volume, tmp_path / "own")["sr"]


def test_another_edition_and_a_rejection_note_are_nobodys_too(person, tmp_path, errors):
    first = results(person, tmp_path / "first", deidentifier=NOBODY)
    second = results(person, tmp_path / "second", deidentifier=NOBODY, edition=1)
    assert first["seg"] != second["seg"]
    segmentation = tmp_path / "first" / "003.seg.dcm"
    note = write_rejection_note(segmentation)
    assert errors(note) == []
    assert dcmread(note).PatientID == dcmread(segmentation).PatientID
    assert dcmread(note).LongitudinalTemporalInformationModified == "REMOVED"
    for text in (*PERSON.values(), person.study_instance_uid):
        assert text.encode() not in note.read_bytes() + b"".join(second.values())


def test_images_of_two_issuers_are_of_two_people(person, tmp_path):
    image = dcmread(person.frames[2].path)
    image.IssuerOfPatientID = "ANOTHER"
    image.save_as(person.frames[2].path)
    with pytest.raises(CaseError, match="one PatientID and IssuerOfPatientID") as caught:
        results(person, tmp_path / "out", deidentifier=NOBODY)
    assert caught.value.code == "source-mixed"


def test_without_a_deidentifier_they_are_the_patients(person, tmp_path):
    made = b"".join(results(person, tmp_path / "out").values())
    assert b"4711-X" in made


def test_where_words_may_be_seen_there_are_no_results(tmp_path):
    array, affine = geometry()
    volume = write_series(tmp_path / "in", array, affine, BurnedInAnnotation="YES")
    with pytest.raises(CaseError, match="without words in it") as caught:
        results(volume, tmp_path / "out", deidentifier=NOBODY)
    assert caught.value.code == "burned-in"
    assert not (tmp_path / "out").exists()
    assert results(volume, tmp_path / "out")
