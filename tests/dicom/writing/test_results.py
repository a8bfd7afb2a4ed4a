"""All objects of one result: they belong together, and are written whole or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from medkit.dicom import Finding, Repair, read
from medkit.dicom.writing.results import ResultKind, write_results
from medkit.errors import CaseError
from tests.dicom.writing.oracles import by_dcmqi, seen_on
from tests.dicom.writing.sources import MAKER, NAMES, some_labels


@pytest.fixture
def volume(oblique):
    repairs = (Finding(Repair.DROP_STRAY, "left out DOE_JANE/IM0003.dcm"),)
    return replace(oblique.volume, notes=(Finding("gap", "a gap of 3 mm"),), repairs=repairs)


def test_all_kinds_are_of_one_study_and_refer_to_each_other(volume, tmp_path, errors):
    paths = write_results(
        volume, some_labels(volume.array.shape), volume.affine, MAKER, tmp_path, notes=["mine"]
    )
    assert {kind: path.name for kind, path in paths.items()} == {
        kind: f"003.{kind}.dcm" for kind in ResultKind
    }
    made = {kind: dcmread(path) for kind, path in paths.items()}
    assert len({dataset.StudyInstanceUID for dataset in made.values()}) == 1
    assert len({dataset.SeriesInstanceUID for dataset in made.values()}) == 3
    assert len({dataset.SeriesNumber for dataset in made.values()}) == 3
    assert made[ResultKind.SEGMENTATION].SOPInstanceUID in str(made[ResultKind.REPORT])
    said = "".join(item.get("TextValue", "") for item in made[ResultKind.REPORT].ContentSequence)
    for remark in ("a gap of 3 mm", Repair.DROP_STRAY.meaning, "mine"):
        assert remark in said
    assert "DOE_JANE" not in said, "a name of a file, which may be the patient's"
    for path in paths.values():
        assert errors(path) == []


@pytest.mark.parametrize(
    ("asked", "written"),
    [(["seg"], ["seg"]), (["sc"], ["sc"]), (["sr"], ["seg", "sr"]), (["seg", "sc"], ["seg", "sc"])],
)
def test_only_what_is_asked_for(volume, tmp_path, asked, written):
    labels = some_labels(volume.array.shape)
    paths = write_results(
        volume, labels, volume.affine, MAKER, tmp_path, kinds=[ResultKind(kind) for kind in asked]
    )
    assert sorted(kind.value for kind in paths) == sorted(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths.values())


def test_another_edition_has_other_uids_and_says_the_same(volume, tmp_path, errors):
    first, second = (
        {
            kind: dcmread(path)
            for kind, path in write_results(
                volume,
                some_labels(volume.array.shape),
                volume.affine,
                MAKER,
                tmp_path / str(edition),
                edition=edition,
            ).items()
        }
        for edition in (0, 1)
    )
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert not {one[name].value for one in first.values()} & {one[name].value for one in second.values()}
    segments, report = second[ResultKind.SEGMENTATION], second[ResultKind.REPORT]
    assert segments.PixelData == first[ResultKind.SEGMENTATION].PixelData
    assert segments.SOPInstanceUID in str(report)
    assert first[ResultKind.SEGMENTATION].SOPInstanceUID not in str(report)
    for path in (tmp_path / "1").iterdir():
        assert errors(path) == []


def test_nothing_is_written_of_what_is_refused(volume, tmp_path):
    labels = some_labels(volume.array.shape)
    labels[0, 0, 0] = 9
    with pytest.raises(CaseError, match="expected labels out of"):
        write_results(volume, labels, volume.affine, MAKER, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("series", "number"), [("hippocrop_study1", 1), ("prostatex_0000", 6)])
def test_real_series(real_data, tmp_path, errors, series, number):
    volumes = [volume for volume in read(real_data / "dicom" / series).volumes if volume.array.shape[2] > 1]
    assert len(volumes) >= number
    for volume in volumes[:3]:  # of the prostate, one in each plane
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2:9, 3:7, 1:3] = 1
        labels[5:, 8:12, 2] = 5
        paths = write_results(volume, labels, volume.affine, MAKER, tmp_path)
        for path in paths.values():
            assert errors(path) == []
        for segment, value in zip(by_dcmqi(paths[ResultKind.SEGMENTATION]), NAMES, strict=True):
            assert np.array_equal(seen_on(volume.affine, labels.shape, *segment), labels == value)


def test_a_series_that_lost_its_uids_is_refused(real_data, tmp_path):
    (volume,) = read(real_data / "dicom" / "totalseg_ct_j2k").volumes
    labels = np.zeros(volume.array.shape, np.uint8)
    with pytest.raises(CaseError, match="without SOPClassUID, StudyInstanceUID") as error:
        write_results(volume, labels, volume.affine, MAKER, tmp_path)
    assert error.value.code == "source-incomplete"
