"""Stored bits become values as the standard has it; a bit-by-bit reference decides."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medkit.dicom import read
from medkit.dicom.elements import Elements
from medkit.dicom.findings import Refused
from medkit.dicom.format import PixelFormat
from medkit.dicom.intensities import Mapping, Table, output_type, same_meaning, values_of
from tests.dicom_series import make


def plane(allocated=16, stored=16, shift=0, signed=False, floating=None):
    found = PixelFormat(1, 1, 1, allocated, stored, shift, signed, "MONOCHROME2", floating)
    return SimpleNamespace(format=found, where="file")


def valued(raw, at, mapping):
    out = np.empty(np.shape(raw), output_type([at], [mapping]))
    padding, remarks = values_of(np.asarray(raw), at, mapping, out)
    return out, padding, remarks


@st.composite
def bits(draw):
    allocated = draw(st.sampled_from([8, 16, 32]))
    stored = draw(st.integers(1, allocated))
    shift = draw(st.integers(0, allocated - stored))
    raw = draw(st.lists(st.integers(0, 2**allocated - 1), min_size=1, max_size=9))
    return allocated, stored, shift, draw(st.booleans()), raw


@given(case=bits(), intercept=st.integers(-70000, 70000))
def test_the_value_is_taken_out_of_its_bits(case, intercept):
    allocated, stored, shift, signed, raw = case
    expected = []
    for number in raw:
        digits = format(number, f"0{allocated}b")
        digits = digits[allocated - shift - stored : allocated - shift]
        value = int(digits, 2)
        expected.append((value - 2**stored if signed and digits[0] == "1" else value) + intercept)
    array = np.array(raw, f"u{allocated // 8}")
    at = plane(allocated, stored, shift, signed)
    out, _, _ = valued(array, at, Mapping(intercept=intercept))
    if out.dtype.kind == "f":  # beyond 32 bits
        np.testing.assert_allclose(out, expected, rtol=1e-7)
    else:
        assert out.tolist() == expected
    assert array.tolist() == raw, "the file's own numbers are not changed"


@given(slope=st.floats(-1e3, 1e3).filter(lambda slope: abs(slope) > 1e-3), intercept=st.floats(-1e4, 1e4))
def test_rescaling_in_double_precision(slope, intercept):
    raw = np.arange(0, 65536, 97, dtype=np.uint16)
    out, _, _ = valued(raw, plane(), Mapping(slope, intercept))
    expected = (raw.astype(np.float64) * slope + intercept).astype(out.dtype)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize(
    ("stored", "signed", "intercept", "expected"),
    [
        (8, False, 0, "uint8"),
        (12, False, -1024, "int16"),
        (12, True, 0, "int16"),
        (16, False, 0, "uint16"),
        (16, False, -1024, "int32"),
        (16, True, -1024, "int32"),
        (16, False, 0.5, "float32"),
    ],
)
def test_the_smallest_type_that_holds_every_number(stored, signed, intercept, expected):
    assert output_type([plane(16, stored, 0, signed)], [Mapping(intercept=intercept)]) == expected


def test_slices_of_different_types_share_one():
    planes = [plane(16, 16, 0, True), plane(16, 16, 0, False)]
    assert output_type(planes, [Mapping(), Mapping()]) == np.int32
    assert output_type(planes, [Mapping(), Mapping(slope=2)]) == np.float32


def test_what_lies_beside_the_value_is_noted():
    assert valued(np.array([4095], "u2"), plane(16, 12), Mapping())[2] == set()
    assert valued(np.array([4096 + 5], "u2"), plane(16, 12), Mapping())[2] == {"high-bits"}
    assert valued(np.array([65535], "u2"), plane(16, 12, 0, True), Mapping())[2] == set()
    assert valued(np.array([4095], "u2"), plane(16, 12, 0, True), Mapping())[2] == {"sign-bits"}


@given(first=st.integers(-40000, 40000), count=st.integers(1, 300))
def test_a_table_ends_in_its_ends(first, count):
    entries = np.arange(count, dtype=np.uint16) * 3 + 7
    raw = np.array([0, 1, 255, 30000, 40000, 65535], "u2")
    for signed in (False, True):
        out, _, _ = valued(raw, plane(signed=signed), Mapping(table=Table(first, entries)))
        stored = raw.view("i2") if signed else raw
        expected = [int(entries[min(max(int(number) - first, 0), count - 1)]) for number in stored]
        assert out.tolist() == expected


def of_table(first, entries):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [len(entries), first, 16])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    dataset = Dataset()
    dataset.ModalityLUTSequence = Items([item])
    return dataset


def with_header(dataset, **shape):
    elements = Elements(dataset, "file")
    instance = SimpleNamespace(elements=elements, little_endian=True)
    return SimpleNamespace(**vars(plane(**shape)), instance=instance, values=(elements,))


def test_the_same_numbers_mean_the_same_under_equal_tables_and_bits_alone():
    table = with_header(of_table(-5, [3, 4]))
    assert same_meaning(table, with_header(of_table(-5, [3, 4])))
    others = (of_table(-5, [3, 9]), of_table(-6, [3, 4]), of_table(-5, [3, 4, 5]), Dataset())
    assert not any(same_meaning(table, with_header(other)) for other in others)
    assert not same_meaning(with_header(Dataset()), table)
    bare = with_header(Dataset())
    assert same_meaning(bare, with_header(Dataset()))
    assert not same_meaning(bare, with_header(Dataset(), signed=True))
    assert not same_meaning(bare, with_header(Dataset(), stored=12))


def test_padding_is_compared_before_rescaling():
    raw = np.array([0, 63536, 100, 63537], "u2")
    out, padding, _ = valued(raw, plane(signed=True), Mapping(2, -1024, padding=(-2000, -2000)))
    assert padding.tolist() == [False, True, False, False]
    assert out[0] == -1024
    assert out[1] == -5024, "the value stays; the mask tells"
    assert valued(raw, plane(), Mapping(padding=(63536, 63600)))[1].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("parametric-map-padding", "(-9999.0, -9999.0)"),
        ("parametric-map-padding-range", "(-9999.0, -9000.0)"),
        ("parametric-map-padding-nan", "(nan, nan)"),
        ("parametric-map-padding-infinite", "(-inf, -inf)"),
        ("parametric-map-padding-double", "(-1.7976931348623157e+308, -1.7976931348623157e+308)"),
    ],
)
def test_padding_of_real_numbers_is_masked_and_told(kind, shown, tmp_path):
    (true,) = make(kind, tmp_path).volumes
    (volume,) = read(tmp_path).volumes
    assert np.array_equal(volume.padding, true.hidden)
    assert volume.facts["padding_voxels"] == np.count_nonzero(true.hidden) > 0
    (note,) = [note for note in volume.notes if note.code == "padding"]
    assert shown in note.message
    inside = volume.array[volume.padding]
    assert set(inside.tolist()) <= {0.0} if "9999" not in shown else inside.max() <= -9000
    assert np.isfinite(volume.array).all()


def test_padding_of_real_numbers_is_compared_exactly():
    at = plane(32, 32, 0, True, np.dtype("f4"))
    pad = np.float32(-1.1)
    raw = np.array([pad, np.nextafter(pad, np.float32(0)), np.nextafter(pad, np.float32(-2)), 5], "f4")
    out, padding, _ = valued(raw, at, Mapping(slope=2, padding=(float(pad), float(pad))))
    assert padding.tolist() == [True, False, False, False]
    assert out[0] == 2 * pad, "the value stays; the mask tells"


@pytest.mark.parametrize("ends", [(np.nan, -5.0), (-5.0, np.nan)])
def test_padding_between_a_number_and_none_is_refused(ends, tmp_path):
    make("parametric-map", tmp_path)
    (path,) = tmp_path.iterdir()
    dataset = dcmread(path)
    dataset.FloatPixelPaddingValue, dataset.FloatPixelPaddingRangeLimit = ends
    dataset.save_as(path)
    (refusal,) = read(tmp_path).refused
    assert refusal.code == "bad-value"
    assert "FloatPixelPaddingValue" in refusal.message


def test_numbers_that_are_none_are_refused_beside_padding():
    at = plane(32, 32, 0, True, np.dtype("f4"))
    for raw, padding in (([np.nan, np.inf], (np.nan, np.nan)), ([np.nan, -1], (-1.0, -1.0))):
        with pytest.raises(Refused) as refused:
            valued(np.array(raw, "f4"), at, Mapping(padding=padding))
        assert refused.value.finding.code == "not-finite"


def test_numbers_that_are_none_are_refused():
    at = plane(32, 32, 0, True, np.dtype("f4"))
    with pytest.raises(Refused) as refused:
        valued(np.array([1, np.nan], "f4"), at, Mapping())
    assert refused.value.finding.code == "not-finite"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RescaleSlope": "0"}, "bad-rescale"),
        ({"RescaleSlope": None}, "bad-rescale"),
        ({"RescaleIntercept": None}, "bad-rescale"),
    ],
)
def test_half_a_rescaling_is_refused(changes, code, stack, written):
    for name, value in changes.items():
        setattr(stack.datasets[3], name, value)
    (refusal,) = read(written(stack.datasets)).refused
    assert refusal.code == code
    assert "003.dcm" in refusal.message


def test_padding_of_a_series_is_counted_and_masked(stack, written):
    for number, dataset in enumerate(stack.datasets):
        dataset.PixelPaddingValue = int(np.frombuffer(dataset.PixelData, "<u2")[number])
    (volume,) = read(written(stack.datasets)).volumes
    assert volume.facts["padding_voxels"] == np.count_nonzero(volume.padding) >= 9
    assert all(volume.padding[number, 0, number] for number in range(9))
    assert "padding" in [note.code for note in volume.notes]
