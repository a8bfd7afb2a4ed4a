"""Rows of the readers' tables from verdicts."""

from __future__ import annotations

from dicom_readers_tables import kind_table, reason_list, summary_table, time_table


def verdict(outcome, readable=True, reason=""):
    return {"outcome": outcome, "readable": readable, "reason": reason}


ROWS = {
    "one": {
        "a": verdict("right"),
        "b": verdict("wrong", reason="value: off"),
        "c": verdict("refused", False),
    },
    "two": {"a": verdict("refused"), "b": verdict("right"), "c": verdict("right", False)},
}


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_summary_counts_what_one_may_refuse_apart():
    rows = cells(summary_table({name: list(found.values()) for name, found in ROWS.items()}))
    assert rows == [["one", "1", "1", "0", "2", "0", "1"], ["two", "2", "0", "1", "2", "1", "0"]]


def test_a_row_for_each_kind():
    kinds = [{"name": name, "about": "x|y", "readable": name != "c"} for name in "abc"]
    rows = cells(kind_table(kinds, ROWS).replace("\\|", "/"))
    assert rows[1] == ["b", "x/y", "**wrong**", "right"]
    assert rows[2][0] == "c °"


def test_reasons_of_what_was_wrong():
    assert reason_list(ROWS) == "- one, b: value: off"
    assert reason_list({"two": ROWS["two"]}) == "None."


def test_times():
    assert cells(time_table({"one": 0.123, "two": None})) == [["one", "0.12"], ["two", "-"]]
