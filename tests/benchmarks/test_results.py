"""What was done is not done again, unless something was different."""

from __future__ import annotations

import pytest
from results import Results


def never():
    pytest.fail("done again")


def test_the_same_settings_are_done_once_and_are_known_to_the_next_process(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    assert Results(path).get({"fold": 0}) is None
    assert Results(path).get_or_make({"fold": 0, "sizes": [1, 2]}, lambda: {"dice": 0.5}) == {"dice": 0.5}
    assert Results(path).get_or_make({"sizes": (1, 2), "fold": 0}, never) == {"dice": 0.5}


@pytest.mark.parametrize("changed", [{"fold": 1}, {"data": "b"}, {"overrides": {"steps": 2}}, {"more": None}])
def test_other_settings_are_done(tmp_path, changed):
    settings = {"fold": 0, "data": "a", "overrides": {"steps": 1}}
    results = Results(tmp_path / "results.jsonl")
    results.get_or_make(settings, lambda: {"dice": 0.5})
    assert results.get_or_make({**settings, **changed}, lambda: {"dice": 0.6}) == {"dice": 0.6}
    assert results.get_or_make(settings, never) == {"dice": 0.5}


def test_half_a_line_of_a_killed_process_is_forgotten(tmp_path):
    path = tmp_path / "results.jsonl"
    results = Results(path)
    for fold in (0, 1):
        results.get_or_make({"fold": fold}, lambda fold=fold: {"dice": fold})
    path.write_text(path.read_text()[:-5])
    results = Results(path)
    assert results.get_or_make({"fold": 0}, never) == {"dice": 0}
    assert results.get_or_make({"fold": 1}, lambda: {"dice": 7}) == {"dice": 7}
    assert Results(path).get_or_make({"fold": 1}, never) == {"dice": 7}


def test_what_json_cannot_hold_is_refused_and_leaves_no_trace(tmp_path):
    path = tmp_path / "results.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        Results(path).get_or_make({"fold": 0}, lambda: {"dice": float("nan")})
    assert not path.exists()
