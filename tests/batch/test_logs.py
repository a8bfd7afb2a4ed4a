from __future__ import annotations

import io
import json
import logging
import warnings

import pytest

from medkit.batch.logs import LogSettings, set_up_logs, told
from medkit.errors import CaseError

STUDY = "ab" * 32


@pytest.fixture
def restored():
    """The loggers as they were."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    names = ("medkit.batch", "medkit.dicom.network")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def stream(restored):
    return io.StringIO()


def test_a_line_says_when_who_what_and_about_what(stream):
    set_up_logs(LogSettings("json"), "worker-1", stream)
    logging.getLogger("medkit.batch.service.worker").info(
        "made", extra=told(study=STUDY, seconds=1.5, code=None)
    )
    said = json.loads(stream.getvalue())
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "info", "process": "worker-1", "message": "made", "study": "ab" * 6, "seconds": 1.5,
    }  # fmt: skip


def test_text_is_one_line_too(stream):
    set_up_logs(LogSettings(), "service", stream)
    logging.getLogger("medkit.batch.x").warning("two\nlines", extra=told(study=STUDY))
    assert stream.getvalue().endswith(f"warning service two lines study={'ab' * 6}\n")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_words_of_others_and_no_text_of_an_error_get_in(stream, form):
    set_up_logs(LogSettings(form), "service", stream)
    logging.getLogger("highdicom").error("value 'Doe^Jane' is no date")
    logging.getLogger("monai").warning("Doe^Jane.nii")
    warnings.warn("Doe^Jane", stacklevel=1)
    try:
        raise CaseError("tilt", "1.2.3: Doe^Jane")
    except CaseError:
        logging.getLogger("medkit.batch").exception("a study failed")
    text = stream.getvalue()
    assert "Doe" not in text
    assert "1.2.3" not in text
    assert "CaseError" in text
    assert "batch/test_logs.py:" in text, "where it was raised"
    assert text.count("\n") == 2, "an error of another library, and ours"


def test_lines_of_several_processes_go_to_one_file(restored, tmp_path):
    path = tmp_path / "batch.log"
    for process in ("service", "worker-1"):
        set_up_logs(LogSettings("json", path), process)
        logging.getLogger("medkit.batch").info("hello")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["process"] for line in lines] == ["service", "worker-1"]
