from __future__ import annotations

import pytest

from medkit.batch.intake.requests import Request, filter_request, read_accessions, read_studies
from medkit.errors import UsageError


def written(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_are_read_line_by_line_each_once(tmp_path):
    path = written(tmp_path, "\ufeff1.2.3\n\n# a comment\n  1.2.4  # the second\n1.2.3\n")
    assert read_studies(path) == [Request("1.2.3"), Request("1.2.4")]
    path = written(tmp_path, "A 12/7\nÄ8\n")
    assert [dict(one.filters) for one in read_accessions(path)] == [
        {"AccessionNumber": "A 12/7"},
        {"AccessionNumber": "Ä8"},
    ]
    assert not any(one.lasting for one in read_accessions(path))


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (read_studies, "1.2.x"),
        (read_studies, "12"),
        (read_studies, "1." * 32 + "1"),
        (read_studies, "1.2*"),
        (read_accessions, "A*"),
        (read_accessions, "A?"),
        (read_accessions, "A\\B"),
        (read_accessions, "A" * 17),
    ],
)
def test_a_line_that_is_none_is_told_by_its_number_and_without_its_words(tmp_path, read, line):
    path = written(tmp_path, f"1.2.3\n{line}\n")
    with pytest.raises(UsageError, match=r"list.txt: line 2: expected a") as caught:
        read(path)
    assert line not in str(caught.value).replace(str(path), "")  # a temporary folder may be numbered so


def test_a_list_without_lines_or_none_at_all_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="got none"):
        read_studies(written(tmp_path, "# nothing\n"))
    with pytest.raises(UsageError, match="none that can be read"):
        read_studies(tmp_path / "gone.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe1.2.3")
    with pytest.raises(UsageError, match="none that can be read"):
        read_studies(tmp_path / "list.txt")


def test_a_filter_that_asks_nothing_is_the_whole_archive_and_refused():
    request = filter_request({"StudyDate": "20260101-20260131", "StudyDescription": "*"})
    assert (dict(request.filters), request.lasting) == ({"StudyDate": "20260101-20260131"}, True)
    for filters in ({}, {"StudyDescription": "*"}, {"AccessionNumber": " "}):
        with pytest.raises(UsageError, match="the whole archive"):
            filter_request(filters)


def test_requests_are_remembered_by_what_they_ask():
    keys = {
        Request("1.2.3").key,
        Request("1.2.4").key,
        filter_request({"A": "1"}).key,
        filter_request({"B": "1"}).key,
    }
    assert len(keys) == 4
    assert filter_request({"A": "1", "B": "2"}).key == filter_request({"B": "2", "A": "1"}).key
    assert "1.2.3" not in Request("1.2.3").key
