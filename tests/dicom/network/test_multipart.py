"""Parts come out as they went in, whatever the pieces; an answer that breaks off is never taken for a whole one."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom.network import multipart
from medkit.dicom.network.multipart import BrokenAnswer, PartTooLong

parts = partial(multipart.parts, most=1000)
TYPE = 'multipart/related; type="application/dicom"; boundary=b1'
CONTENTS = st.lists(st.binary(max_size=60).filter(lambda data: b"\r\n--b1" not in b"\r\n" + data), max_size=4)


def body(contents, head=b"Content-Type: application/dicom\r\n", before=b"") -> bytes:
    return before + b"".join(b"\r\n--b1\r\n" + head + b"\r\n" + data for data in contents) + b"\r\n--b1--\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    CONTENTS, st.integers(1, 50), st.sampled_from([b"", b"A: b\r\nC: d\r\n"]), st.sampled_from([b"", b"so: "])
)
def test_parts_come_out_as_they_went_in(contents, size, head, before):
    assert list(parts(TYPE, pieces(body(contents, head, before), size))) == contents


@given(CONTENTS.filter(bool), st.integers(1, 50))
def test_the_first_delimiter_may_begin_the_answer(contents, size):
    assert list(parts(TYPE, pieces(body(contents)[2:], size))) == contents


@given(CONTENTS, st.integers(1, 50), st.data())
def test_an_answer_that_breaks_off_is_told(contents, size, data):
    whole = body(contents)
    cut = whole[: data.draw(st.integers(0, len(whole) - len("\r\n") - 1))]
    got = []
    with pytest.raises(BrokenAnswer, match="breaks off"):
        got.extend(parts(TYPE, pieces(cut, size)))
    assert got == contents[: len(got)]


@pytest.mark.parametrize("kind", ["application/dicom", "", "multipart/related", "text/html; boundary=b1"])
def test_what_is_not_multipart_is_told(kind):
    with pytest.raises(BrokenAnswer, match="expected a multipart answer"):
        list(parts(kind, [body([b"x"])]))


def test_headers_without_end_are_not_read_for_ever():
    endless = (b"X: y\r\n" for _ in iter(int, 1))

    def chunks():
        yield b"--b1\r\n"
        yield from endless

    with pytest.raises(BrokenAnswer, match="bounded length"):
        list(parts(TYPE, chunks()))


def test_a_part_may_be_as_long_as_it_may_be_and_no_longer():
    assert list(parts(TYPE, pieces(body([bytes(1000)]), 7))) == [bytes(1000)]
    for size in (7, 5000):
        with pytest.raises(PartTooLong, match="bounded length"):
            list(parts(TYPE, pieces(body([bytes(1001)]), size)))


@pytest.mark.parametrize("begin", [b"", b"--b1\r\n\r\n"], ids=["no part", "a part"])
def test_what_has_no_end_is_not_held(begin):
    taken = []

    def chunks():
        yield begin
        while True:
            taken.append(bytes(100))
            yield taken[-1]

    with pytest.raises(PartTooLong):
        list(parts(TYPE, chunks()))
    assert len(taken) < 15


def test_a_boundary_in_quotes_is_understood():
    assert list(parts('multipart/related; boundary="b1"', [body([b"x"])])) == [b"x"]
