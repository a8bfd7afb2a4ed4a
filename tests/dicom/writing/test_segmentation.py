"""Segmentations: two decoders find every voxel where it was, whatever the axes and the order of the files."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import segread

from medkit.data.palette import label_colours
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.segmentation import SegmentationType, make_segmentation
from medkit.dicom.writing.source import open_source
from medkit.errors import CaseError, UsageError
from tests.dicom.writing.oracles import FLIP, by_dcmqi, by_highdicom, read_back, seen_on
from tests.dicom.writing.sources import CODES, MAKER, NAMES, geometry, some_labels, write_series
from tests.figures.orientations import ALL_ORIENTATIONS

BINARY, LABELMAP, FRACTIONAL = SegmentationType


def turned(labels, affine, number):
    """The same voxels in an array of other axes."""
    codes = nib.orientations.axcodes2ornt(ALL_ORIENTATIONS[number % len(ALL_ORIENTATIONS)])
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), codes)
    back = nib.orientations.inv_ornt_aff(turn, labels.shape)
    return nib.orientations.apply_orientation(labels, turn), affine @ back


def as_probabilities(labels):
    """A channel for each value up to the highest, of less than 1."""
    return np.stack([(labels == value) * 0.75 for value in range(6)], axis=-1)


def check_decoded(path, labels, affine):
    decoded, place = by_highdicom(path)
    segments = by_dcmqi(path)
    assert len(segments) == len(NAMES)
    for number, value in enumerate(NAMES, 1):
        expected = labels == value
        assert np.array_equal(seen_on(affine, labels.shape, decoded == number, place), expected)
        assert np.array_equal(seen_on(affine, labels.shape, *segments[number - 1]), expected)


@pytest.mark.parametrize("oblique", [False, True], ids=["plain", "oblique"])
@pytest.mark.parametrize("axcodes", ALL_ORIENTATIONS, ids="".join)
def test_others_find_every_voxel_where_it_was(tmp_path, axcodes, oblique):
    number = ALL_ORIENTATIONS.index(axcodes)
    array, affine = geometry(axcodes, oblique=oblique)
    source = open_source(write_series(tmp_path / "source", array, affine, seed=number, order=False))
    labels = some_labels(array.shape, seed=number)
    given, given_affine = turned(labels, affine, 7 * number + 3)
    save(make_segmentation(source, given, given_affine, MAKER), tmp_path / "seg.dcm")
    check_decoded(tmp_path / "seg.dcm", labels, affine)


@pytest.mark.parametrize("kind", [BINARY, FRACTIONAL])
def test_slices_without_labels_are_no_slices_that_are_missing(tmp_path, oblique, kind):
    # Frames are left out where a segment is absent: the distance of slices must not come from what is left.
    volume = oblique.volume
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[1:4, 2, 0], labels[2, 1:3, -1], labels[0, 0, 2] = 1, 1, 5
    given = as_probabilities(labels) if kind is FRACTIONAL else labels
    dataset = make_segmentation(oblique, given, volume.affine, MAKER, segmentation_type=kind)
    save(dataset, tmp_path / "seg.dcm")
    assert dataset.NumberOfFrames == 3
    segments = by_dcmqi(tmp_path / "seg.dcm")
    for number, value in enumerate(NAMES):
        assert np.array_equal(seen_on(volume.affine, labels.shape, *segments[number]), labels == value)


@pytest.mark.parametrize("kind", [LABELMAP, FRACTIONAL])
def test_other_types_hold_the_same_voxels(tmp_path, oblique, errors, kind):
    volume = oblique.volume
    labels = some_labels(volume.array.shape)
    given = as_probabilities(labels) if kind is FRACTIONAL else labels
    save(
        make_segmentation(oblique, given, volume.affine, MAKER, segmentation_type=kind), tmp_path / "seg.dcm"
    )
    dataset = segread(tmp_path / "seg.dcm")
    assert dataset.SegmentationType == kind
    if kind is FRACTIONAL:
        assert errors(tmp_path / "seg.dcm") == []
        whole = dataset.get_volume(rescale_fractional=True)
        assert np.abs(whole.array[whole.array > 0] - 0.75).max() < 1 / 255
        masks = [whole.array[..., number] > 0 for number in range(3)]
    else:  # which dciodvfy does not know
        whole = dataset.get_volume(combine_segments=True)
        masks = [whole.array == number for number in (1, 2, 3)]
        ((merged, place),) = by_dcmqi(tmp_path / "seg.dcm")
        assert np.array_equal(seen_on(volume.affine, labels.shape, merged == 3, place), labels == 5)
    for mask, value in zip(masks, NAMES, strict=True):
        assert np.array_equal(
            seen_on(volume.affine, labels.shape, mask, FLIP @ whole.affine), labels == value
        )


def test_masks_may_overlap(tmp_path, oblique):
    volume = oblique.volume
    masks = np.random.default_rng(3).random((*volume.array.shape, 6)) > 0.5
    save(make_segmentation(oblique, masks, volume.affine, MAKER), tmp_path / "seg.dcm")
    for segment, value in zip(by_dcmqi(tmp_path / "seg.dcm"), NAMES, strict=True):
        assert np.array_equal(seen_on(volume.affine, volume.array.shape, *segment), masks[..., value])
    with pytest.raises(UsageError, match="do not overlap"):
        make_segmentation(oblique, masks, volume.affine, MAKER, segmentation_type=LABELMAP)
    single = as_probabilities(some_labels(volume.array.shape)) > 0
    flat = make_segmentation(oblique, single, volume.affine, MAKER, segmentation_type=LABELMAP)
    assert sorted(np.unique(flat.pixel_array)) == [0, 1, 2, 3]


def test_values_may_be_large(oblique):
    names, codes = {300: "a", 2**31: "b"}, {300: CODES[1], 2**31: CODES[2]}
    labels = np.random.default_rng(5).choice(np.array([0, 300, 2**31]), oblique.volume.array.shape)
    for changed in ({}, {2**31: 300}):  # 32 and 16 bits
        given = np.where(labels == 2**31, changed.get(2**31, 2**31), labels)
        dataset = make_segmentation(
            oblique, given, oblique.volume.affine, replace(MAKER, label_names=names, codes=codes)
        )
        counts = [int(frames.sum()) for frames in by_segment(dataset)]
        assert counts == [(given == 300).sum(), (given == 2**31).sum()]


def by_segment(dataset):
    numbers = [
        item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for item in dataset.PerFrameFunctionalGroupsSequence
    ]
    return [dataset.pixel_array[np.array(numbers) == number] for number in (1, 2)]


def test_an_empty_result_is_an_object_too(tmp_path, oblique, errors):
    labels = np.zeros(oblique.volume.array.shape, np.uint8)
    save(make_segmentation(oblique, labels, oblique.volume.affine, MAKER), tmp_path / "seg.dcm")
    assert errors(tmp_path / "seg.dcm") == []
    assert not segread(tmp_path / "seg.dcm").pixel_array.any()


def test_the_validator_has_nothing_to_say(tmp_path, oblique, errors):
    labels = some_labels(oblique.volume.array.shape)
    save(make_segmentation(oblique, labels, oblique.volume.affine, MAKER), tmp_path / "seg.dcm")
    assert errors(tmp_path / "seg.dcm") == []
    dataset = read_back(tmp_path / "seg.dcm")
    del dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    dataset.save_as(tmp_path / "broken.dcm")
    assert errors(tmp_path / "broken.dcm")


def test_frames_refer_to_the_images_at_their_places(oblique):
    labels = some_labels(oblique.volume.array.shape)
    dataset = make_segmentation(oblique, labels, oblique.volume.affine, MAKER)
    headers = {header.SOPInstanceUID: header for header in oblique.headers}
    for item in dataset.PerFrameFunctionalGroupsSequence:
        (reference,) = item.DerivationImageSequence[0].SourceImageSequence
        header = headers[reference.ReferencedSOPInstanceUID]
        assert reference.ReferencedSOPClassUID == header.SOPClassUID
        assert "ReferencedFrameNumber" not in reference
        place = item.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(np.array(place, float), np.array(header.ImagePositionPatient, float), atol=1e-4)
    uids = [header.SOPInstanceUID for header in oblique.headers]
    assert dataset.get_pixels_by_source_instance(uids, combine_segments=True).any()
    told = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
    assert told == [header.SOPInstanceUID for header in oblique.headers]


def test_segments_say_what_they_are(oblique):
    labels = some_labels(oblique.volume.array.shape)
    segments = make_segmentation(oblique, labels, oblique.volume.affine, MAKER).SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == list(NAMES.values())
    for segment, codes in zip(segments, CODES.values(), strict=True):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert kind.CodeValue == codes.type.value
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == codes.category.value
        modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence", [])
        assert [item.CodeValue for item in modifiers] == [item.value for item in codes.modifiers]
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert MAKER.digest in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    region = segments[2].AnatomicRegionSequence[0]
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("64033007", "Left")


def test_segments_have_the_colours_of_the_pictures(oblique):
    labels = some_labels(oblique.volume.array.shape)
    segments = make_segmentation(oblique, labels, oblique.volume.affine, MAKER).SegmentSequence
    colours = [tuple(segment.RecommendedDisplayCIELabValue) for segment in segments]
    drawn = [[round(255 * part) for part in colour] for colour in label_colours(NAMES).values()]
    assert colours == [CIELabColor.from_rgb(*colour).value for colour in drawn]
    assert colours[0] == colours[1] != colours[2], "left and right kidney, and the lesion"


def test_a_label_without_a_code_is_not_written(oblique):
    maker = replace(MAKER, codes={value: codes for value, codes in CODES.items() if value != 5})
    labels = np.zeros(oblique.volume.array.shape, np.uint8)  # not even where it has no voxel
    with pytest.raises(UsageError, match=r"label 5 \(lesion of the left kidney\).*segment_codes"):
        make_segmentation(oblique, labels, oblique.volume.affine, maker)


@pytest.mark.parametrize(
    ("value", "code"), [(3, "label-unknown"), (0.5, "labels-not-integer"), (-1, "labels-not-integer")]
)
def test_labels_that_are_none(oblique, value, code):
    labels = np.zeros(oblique.volume.array.shape)
    labels[0, 0, 0] = value
    with pytest.raises(CaseError) as error:
        make_segmentation(oblique, labels, oblique.volume.affine, MAKER)
    assert error.value.code == code


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_probabilities_that_are_none(oblique, value):
    given = np.zeros((*oblique.volume.array.shape, 6))
    given[0, 0, 0, 5] = value
    with pytest.raises(CaseError) as error:
        make_segmentation(oblique, given, oblique.volume.affine, MAKER, segmentation_type=FRACTIONAL)
    assert error.value.code == "probabilities-out-of-range"


@pytest.mark.parametrize("shape", [(), (5,)])
def test_probabilities_want_a_channel_for_each_label(oblique, shape):
    given = np.zeros((*oblique.volume.array.shape, *shape))
    with pytest.raises(UsageError, match="FRACTIONAL: expected an array"):
        make_segmentation(oblique, given, oblique.volume.affine, MAKER, segmentation_type=FRACTIONAL)


def sheared(folder):
    """A stack under a gantry tilt of 17 degrees."""
    array, affine = geometry("LPS")
    tilt = np.eye(4)
    tilt[1, 2] = 0.3
    return open_source(write_series(folder, array, affine @ tilt))


def test_a_tilted_source_is_refused_unless_it_is_allowed(tmp_path):
    source = sheared(tmp_path)
    labels = some_labels(source.volume.array.shape)
    with pytest.raises(CaseError, match=r"tilt of 1\d\.\d degrees") as error:
        make_segmentation(source, labels, source.volume.affine, MAKER)
    assert error.value.code == "source-sheared"
    dataset = make_segmentation(source, labels, source.volume.affine, MAKER, allow_sheared=True)
    place = np.diag([-1, -1, 1, 1]) @ source.volume.affine
    numbers = dict(zip(NAMES, (1, 2, 3), strict=True))
    pixels = dataset.pixel_array
    for item, frame in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        k = int(
            np.argmin([np.linalg.norm(place[:3] @ (0, 0, k, 1) - origin) for k in range(labels.shape[2])])
        )
        assert np.allclose(place[:3] @ (0, 0, k, 1), origin, atol=1e-6)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        (value,) = (value for value, other in numbers.items() if other == number)
        assert np.array_equal(frame.T, labels[:, :, k] == value)


def test_why_tilted_sources_are_refused(tmp_path):
    # If one learns to place sheared slices, this fails, and the refusal can go.
    source = sheared(tmp_path)
    labels = some_labels(source.volume.array.shape)
    dataset = make_segmentation(source, labels, source.volume.affine, MAKER, allow_sheared=True)
    save(dataset, tmp_path / "seg.dcm")
    with pytest.raises(RuntimeError, match="do not form a regularly-spaced volume"):
        segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    _, affine = by_dcmqi(tmp_path / "seg.dcm")[0]
    corners = np.array([[0, 0, 0], [0, 0, labels.shape[2] - 1]])
    true, found = (nib.affines.apply_affine(each, corners) for each in (source.volume.affine, affine))
    assert np.linalg.norm(np.diff(true - found, axis=0)) > 1  # mm between the first and the last slice
