"""Labels go to the series that their image was converted from, and to no other of the same grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom import dcmread

from medkit.data.grid import Grid
from medkit.data.hashing import hash_files
from medkit.data.writing import write_labels
from medkit.dicom import convert
from medkit.errors import CaseError
from medkit.inference.dicom_origin import Origin, origin_of
from medkit.inference.dicom_results import DicomOptions, write_dicom
from tests.dicom.writing.sources import ROOT, geometry, write_series
from tests.inference.test_dicom_results import BUNDLE, NAMES, RECORD, SEG


@pytest.fixture
def case(tmp_path):
    """Two series of one study on one grid; the first was converted, and its image labelled."""
    array, affine = geometry()
    write_series(tmp_path / "study" / "one", array, affine)
    other = {"SeriesInstanceUID": f"{ROOT}.7", "SeriesNumber": 4}
    write_series(tmp_path / "study" / "two", array, affine, **other)
    images = convert(tmp_path / "study" / "one", tmp_path / "volumes")
    (image,) = images.files.values()
    labels = tmp_path / "results" / "labels" / f"{image.name}"
    write_labels(labels, np.ones(array.shape, np.uint8), Grid(array.shape, affine), NAMES)
    record = {**RECORD, "input": [{"path": str(image), "sha256": hash_files([image])}]}
    place = tmp_path / "results" / "cases" / "003.json"
    place.parent.mkdir()
    place.write_text(json.dumps(record))
    return labels, image, record


def test_the_series_is_that_of_the_image(case, tmp_path):
    labels, _, record = case
    verdicts = json.loads((tmp_path / "volumes" / "verdicts.json").read_text())
    digest = verdicts["series"][0]["volumes"][0]["frames_sha256"]
    assert len(digest) == 64
    assert origin_of(record) == Origin("003.nii.gz", f"{ROOT}.1", f"{ROOT}.2", "003", digest)
    written = write_dicom(labels, tmp_path / "study", BUNDLE, tmp_path / "out", SEG)
    assert [path.name for path in written.values()] == ["003.seg.dcm"]
    told = json.loads((tmp_path / "out" / "003.json").read_text())
    assert told["series_instance_uid"] == f"{ROOT}.2"


def test_labels_of_another_series_are_refused(case, tmp_path):
    labels, *_ = case
    with pytest.raises(CaseError, match=r"expected the series that 003.nii.gz was converted from") as caught:
        write_dicom(labels, tmp_path / "study" / "two", BUNDLE, tmp_path / "out", SEG)
    assert caught.value.code == "labels-of-another-series"
    assert not (tmp_path / "out").exists()


def test_what_is_refused_beside_does_not_matter(case, tmp_path):
    labels, *_ = case
    next((tmp_path / "study" / "two").iterdir()).write_bytes(b"")
    assert write_dicom(labels, tmp_path / "study", BUNDLE, tmp_path / "out", SEG)


@pytest.mark.parametrize(
    "change", ["image gone", "image another", "no verdicts", "verdicts of others", "no record"]
)
def test_where_nothing_tells_the_grid_decides(change, case, tmp_path):
    _, image, record = case
    assert origin_of(record) is not None
    if change == "image gone":
        image.unlink()
    elif change == "image another":
        image.write_bytes(b"another")
    elif change == "no verdicts":
        (image.parent / "verdicts.json").unlink()
    elif change == "verdicts of others":
        (image.parent / "verdicts.json").write_text('{"series": [{"volumes": []}]}')
    assert origin_of(None if change == "no record" else record) is None


@pytest.fixture
def echoes(tmp_path):
    """Two echoes of one series on one grid; labels of the second."""
    array, affine = geometry()
    write_series(tmp_path / "study" / "e1", array, affine, EchoTime=3)
    write_series(tmp_path / "study" / "e2", array[::-1].copy(), affine, EchoTime=30)
    for path in (tmp_path / "study" / "e2").iterdir():
        image = dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.9"
        image.save_as(path)
    images = convert(tmp_path / "study", tmp_path / "volumes").files
    return labelled(tmp_path, images["003_echo-time-30"])


def labelled(tmp_path, *images):
    array, affine = geometry()
    labels = tmp_path / "results" / "labels" / "a.nii.gz"
    write_labels(labels, np.ones(array.shape, np.uint8), Grid(array.shape, affine), NAMES)
    inputs = [{"path": str(image), "sha256": hash_files([image])} for image in images]
    place = tmp_path / "results" / "cases" / "a.json"
    place.parent.mkdir()
    place.write_text(json.dumps({**RECORD, "input": inputs}))
    return labels


def test_labels_of_another_volume_of_the_series_are_refused(echoes, tmp_path):
    picked = DicomOptions(kinds=SEG.kinds, picks={"volume": "003_echo-time-3"})
    for source, options in ((tmp_path / "study", picked), (tmp_path / "study" / "e1", SEG)):
        with pytest.raises(CaseError, match=r"\(volume 003_echo-time-30\), got only 003") as caught:
            write_dicom(echoes, source, BUNDLE, tmp_path / "out", options)
        assert caught.value.code == "labels-of-another-series"
    assert not (tmp_path / "out").exists()


def test_a_volume_is_known_again_under_another_name(echoes, tmp_path):
    for source in ("study", "study/e2"):  # where it is called 003_echo-time-30, and 003
        assert write_dicom(echoes, tmp_path / source, BUNDLE, tmp_path / source.replace("/", "-out-"), SEG)


@pytest.fixture
def channels(tmp_path):
    """Two series of one study, and one of another patient, all on one grid."""
    array, affine = geometry()
    write_series(tmp_path / "one", array, affine)
    write_series(tmp_path / "two", array, affine, SeriesInstanceUID=f"{ROOT}.7", SeriesNumber=4)
    stranger = {"PatientID": "another", "PatientName": "Else^Someone", "StudyInstanceUID": "1.2.3.4"}
    write_series(tmp_path / "stranger", array, affine, SeriesInstanceUID=f"{ROOT}.8", **stranger)
    return {
        name: next(iter(convert(tmp_path / name, tmp_path / f"v-{name}").files.values()))
        for name in ("one", "two", "stranger")
    }


def test_labels_of_several_images_are_of_the_first(channels, tmp_path):
    labels = labelled(tmp_path, channels["one"], channels["two"])
    for other in ("two", "stranger"):
        with pytest.raises(CaseError, match=r"expected the series that 003.nii.gz was converted from"):
            write_dicom(labels, tmp_path / other, BUNDLE, tmp_path / "out", SEG)
    assert write_dicom(labels, tmp_path / "one", BUNDLE, tmp_path / "out", SEG)


def test_labels_of_images_of_several_studies_are_refused(channels, tmp_path):
    labels = labelled(tmp_path, channels["one"], channels["stranger"])
    with pytest.raises(CaseError, match="expected images of one study") as caught:
        write_dicom(labels, tmp_path / "one", BUNDLE, tmp_path / "out", SEG)
    assert caught.value.code == "inputs-apart"
