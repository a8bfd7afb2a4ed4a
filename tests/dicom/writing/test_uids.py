"""UIDs: the same for the same, others for anything else, in the form of DICOM."""

from __future__ import annotations

import uuid
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID

from medkit.data.label_codes import Concept
from medkit.dicom.writing import maker as maker_module
from medkit.dicom.writing.derived_images import DerivedModality, make_derived_images
from medkit.dicom.writing.parametric_map import MapQuantity, make_parametric_map
from medkit.dicom.writing.picture import draw_picture
from medkit.dicom.writing.report import volume_report
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.segmentation import (
    SegmentationType,
    encoded_segmentation,
    make_segmentation,
    tracking,
)
from medkit.dicom.writing.uids import PENDING_UID, ResultUids, derived_uid
from tests.dicom.writing.sources import CODES, FLAT, LIVER, MAKER, NAMES, some_labels, source_with

DIFFUSION = Concept("113041", "Apparent Diffusion Coefficient", "DCM")
MAP = MapQuantity("ADC", "Diffusion", Concept("um2/s", "um2/s", "UCUM"))
OTHER_CODES = replace(MAKER, codes={**CODES, 1: replace(CODES[1], type=LIVER)})
OTHER_NAMES = replace(MAKER, label_names=NAMES | {1: "other"})


@given(st.lists(st.text()))
def test_a_uid_is_one_of_a_uuid(parts):
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    assert uid == derived_uid(*parts)
    assert uid.startswith("2.25.")
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 5


def test_where_one_text_ends_matters():
    assert (
        len({derived_uid("ab", "c"), derived_uid("a", "bc"), derived_uid("abc"), derived_uid("abc", "")}) == 4
    )


def segments(source, maker=MAKER, labels=None):
    labels = some_labels(FLAT) if labels is None else labels
    return make_segmentation(source, labels, source.volume.affine, maker)


def adc(source, quantity=MAP, scale=1.0, maker=MAKER):
    values = source.volume.array * scale
    return make_parametric_map(source, values, source.volume.affine, maker, quantity)


def report(source, maker=MAKER, notes=()):
    return volume_report(source, segments(source, maker), maker, notes)


def drawn(source, maker=MAKER):
    return draw_picture(source, some_labels(FLAT), source.volume.affine, maker)


def images(source, scale=0.37, shift=0.0, last=0.0):
    """With another value in the last image, whatever the others have."""
    array = source.volume.array * scale
    array[20, 30, -1] += last
    affine = source.volume.affine.copy()
    affine[:3, 3] += shift
    return make_derived_images(source, array, affine, MAKER, modality=DerivedModality.MR, what="synthesis")


def one_voxel_less():
    labels = some_labels(FLAT)
    labels[tuple(np.argwhere(labels)[0])] = 0
    return labels


OTHERS = {
    "voxel of a segmentation": (segments, lambda source: segments(source, labels=one_voxel_less())),
    "code of a segment": (segments, lambda source: segments(source, OTHER_CODES)),
    "name of a segment": (segments, lambda source: segments(source, OTHER_NAMES)),
    "unit of a map": (
        adc,
        lambda source: adc(source, replace(MAP, unit=Concept("mm2/s", "mm2/s", "UCUM"))),
    ),
    "quantity of a map": (adc, lambda source: adc(source, replace(MAP, quantity=DIFFUSION))),
    "explanation of a map": (adc, lambda source: adc(source, replace(MAP, explanation="Other"))),
    "scale of a map": (adc, lambda source: adc(source, scale=2.0)),
    "anatomy of a map": (
        lambda source: adc(source, maker=replace(MAKER, label_names={1: "a"})),
        lambda source: adc(source, maker=replace(OTHER_CODES, label_names={1: "a"})),
    ),
    "note of a report": (report, lambda source: report(source, notes=["a gap"])),
    "code of a report": (report, lambda source: report(source, OTHER_CODES)),
    "name in a picture": (drawn, lambda source: drawn(source, OTHER_NAMES)),
}


@pytest.mark.parametrize(("make", "make_other"), OTHERS.values(), ids=OTHERS)
def test_an_object_that_says_anything_else_is_another(source, make, make_other):
    made, other = make(source), make_other(source)
    assert made.SOPInstanceUID == make(source).SOPInstanceUID
    assert made.SOPInstanceUID != other.SOPInstanceUID
    assert made.SeriesInstanceUID == other.SeriesInstanceUID


@pytest.mark.parametrize("name", ["Müller^Jörg", "Yamada^Tarou=山田^太郎", "Doe^Jane"])
@pytest.mark.parametrize("make", [segments, adc, report, drawn], ids=lambda make: make.__name__)
def test_elements_are_written_as_they_would_be_if_they_were_encoded_anew(source, tmp_path, make, name):
    headers = deepcopy(source.headers)
    for header in headers:
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 192", name
    named = replace(source, headers=headers)
    kept, anew = make(named), make(named)
    for _ in anew.iterall():  # makes values of them
        pass
    anew.set_original_encoding(None, None)
    assert kept.get_item("PatientName").is_raw
    assert not anew.get_item("PatientName").is_raw
    save(kept, tmp_path / "kept.dcm")
    save(anew, tmp_path / "anew.dcm")
    assert (tmp_path / "kept.dcm").read_bytes() == (tmp_path / "anew.dcm").read_bytes()


def test_a_segmentation_that_is_only_written_is_the_same(source, tmp_path):
    save(segments(source), tmp_path / "read.dcm")
    encoded = encoded_segmentation(
        source,
        some_labels(FLAT),
        source.volume.affine,
        MAKER,
        segmentation_type=SegmentationType.BINARY,
        allow_sheared=False,
    )
    save(encoded, tmp_path / "written.dcm")
    assert (tmp_path / "read.dcm").read_bytes() == (tmp_path / "written.dcm").read_bytes()


# What an archive corrects: the images keep their UIDs.
CORRECTED = {
    "PatientName": "Corrected^Name", "PatientID": "other", "PatientBirthDate": "19710101", "AccessionNumber": "A2",
    "StudyDescription": "Other",
}  # fmt: skip


@pytest.mark.parametrize("name", CORRECTED)
@pytest.mark.parametrize("make", [segments, adc, report, drawn, lambda source: images(source)[1]],
                         ids=["segmentation", "map", "report", "picture", "derived image"])  # fmt: skip
def test_an_object_of_a_corrected_patient_or_study_is_another(source, tmp_path, make, name):
    corrected = source_with(tmp_path, **{name: CORRECTED[name]})
    assert corrected.identity == source.identity
    assert make(corrected).SOPInstanceUID != make(source).SOPInstanceUID


@pytest.mark.parametrize(
    "other", [{"scale": 0.74}, {"shift": 30.0}, {"last": 0.1}], ids=["scale", "place", "one image"]
)
def test_derived_images_of_another_volume_are_another_series(source, other):
    # In one series a viewer would stack the images of both.
    made, others = images(source), images(source, **other)
    for one in (made, others):
        assert len({image.SeriesInstanceUID for image in one}) == 1
        assert len({image.SOPInstanceUID for image in one}) == FLAT[2]
    assert made[0].SeriesInstanceUID != others[0].SeriesInstanceUID
    assert not {image.SOPInstanceUID for image in made} & {image.SOPInstanceUID for image in others}


def test_a_file_is_called_as_its_object(source):
    for made in (segments(source), adc(source), report(source), drawn(source), *images(source)):
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
        assert PENDING_UID not in str(made)


def identified(uids):
    dataset = Dataset()
    dataset.file_meta = Dataset()
    dataset.DimensionOrganizationSequence = [Dataset()]
    uids.identify(dataset)
    (dimension,) = dataset.DimensionOrganizationSequence
    return {dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dimension.DimensionOrganizationUID}


def test_source_maker_and_kind_decide_every_uid(oblique, source, monkeypatch):
    uids = ResultUids(oblique, MAKER, "segmentation-binary")
    known = identified(uids)
    assert len(known) == 3
    assert identified(replace(uids)) == known
    others = [
        replace(uids, kind="segmentation-labelmap"),
        replace(uids, source=source),
        replace(uids, maker=replace(MAKER, digest="f" * 64)),
        replace(uids, maker=replace(MAKER, settings={"overrides": {"inferer::overlap": 0.25}})),
        replace(uids, maker=replace(MAKER, bundle="other")),
    ]
    for other in others:
        assert not identified(other) & known
    monkeypatch.setattr(maker_module, "__version__", "99.0")
    assert not identified(uids) & known


@pytest.mark.parametrize("order", [{"a": 1, "b": 2}, {"b": 2, "a": 1}])
def test_the_order_of_settings_does_not_matter(oblique, order):
    first = ResultUids(oblique, replace(MAKER, settings={"a": 1, "b": 2}), "report")
    assert ResultUids(oblique, replace(MAKER, settings=order), "report").series == first.series


def test_a_structure_is_tracked_by_what_it_is(oblique):
    known = tracking(oblique, MAKER, 1)
    assert tracking(oblique, replace(MAKER, label_names={1: NAMES[1]}), 1) == known
    assert len({known[1], *(tracking(oblique, maker, 1)[1] for maker in (OTHER_CODES, OTHER_NAMES))}) == 3
