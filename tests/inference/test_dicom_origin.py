"""Labels go to the series that their image was converted from, and to no other of the same grid."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medkit.data.grid import Grid
from medkit.data.hashing import hash_files
from medkit.data.writing import write_labels
from medkit.dicom import convert
from medkit.errors import CaseError
from medkit.inference.dicom_origin import Origin, origin_of
from medkit.inference.dicom_results import write_dicom
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
    assert origin_of(record) == Origin("003.nii.gz", f"{ROOT}.2", "003")
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
    "change", ["image gone", "image another", "no verdicts", "verdicts of others", "no record", "two"]
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
    elif change == "two":
        record = {**record, "input": record["input"] * 2}
    assert origin_of(None if change == "no record" else record) is None
