from __future__ import annotations

import csv
import io
import os

from hypothesis import given
from hypothesis import strategies as st

from medkit.data.tables import csv_text

# A carriage return alone begins a line for readers.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1))
def test_a_reader_finds_what_was_written(table):
    text = csv_text(table[0], iter(table[1:]))
    assert list(csv.reader(io.StringIO(text, newline=""))) == table


def test_the_form_is_plain():
    assert csv_text(("case", "ml"), [("a,b", 1.5), ("c", "")]) == 'case,ml\n"a,b",1.5\nc,\n'


def test_a_name_that_is_no_utf_8_can_be_written():
    text = csv_text(["case"], [[os.fsdecode(b"scan\xff")]])
    assert text.encode("utf-8") == b"case\nscan\\udcff\n"
