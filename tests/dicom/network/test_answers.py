"""What an answer says is read, and what is no answer is told as such, whatever it is."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filereader import read_dataset

from medkit.dicom.network.answers import number_in, uid_in
from medkit.dicom.network.archive import ArchiveRefused
from medkit.dicom.network.quiet import keep_quiet

COUNT, SERIES = "NumberOfSeriesRelatedInstances", "SeriesInstanceUID"


def answer(count: bytes = b"", series: bytes = b"") -> Dataset:
    """An identifier as it comes over the wire, in Implicit VR Little Endian."""
    raw = b"\x20\0\x0e\0" + len(series).to_bytes(4, "little") + series
    raw += b"\x20\0\x09\x12" + len(count).to_bytes(4, "little") + count
    return read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)


def test_what_it_says_is_read():
    whole = answer(b"12", b"1.2.3\0")
    assert (number_in(whole, COUNT, "PACS"), uid_in(whole, SERIES, "PACS")) == (12, "1.2.3")
    for empty in (answer(), Dataset()):
        assert (number_in(empty, COUNT, "PACS"), uid_in(empty, SERIES, "PACS")) == (None, "")


@pytest.mark.parametrize("count", [b"many", b"1.5 ", b"-3", b"3\\4 ", b"12 of DOE^JOHN"])
def test_a_number_that_is_none_is_told_without_it(count):
    with pytest.raises(ArchiveRefused, match=f"PACS: expected a number as {COUNT}") as caught:
        number_in(answer(count), COUNT, "PACS")
    assert caught.value.code == "answer-unreadable"
    assert count.decode() not in str(caught.value)


def test_several_uids_are_none():
    with pytest.raises(ArchiveRefused, match=f"expected a UID as {SERIES}"):
        uid_in(answer(series=b"1.2\\1.3 "), SERIES, "PACS")


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_whatever_comes_is_a_value_or_refused(count, series):
    keep_quiet()
    with suppress(ArchiveRefused):
        assert (number_in(answer(count), COUNT, "PACS") or 0) >= 0
    with suppress(ArchiveRefused):
        assert isinstance(uid_in(answer(series=series), SERIES, "PACS"), str)
