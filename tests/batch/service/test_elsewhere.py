from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from medkit.batch.service.elsewhere import ask_elsewhere
from medkit.errors import MedkitError, UsageError


def refuse(word):
    raise UsageError(word)


def test_what_another_process_gives(capfd):
    assert ask_elsewhere(600.0, "count", len, "four") == 4
    assert ask_elsewhere(600.0, "say who it is", os.getpid) != os.getpid()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ask", "given", "error", "words"),
    [
        (refuse, "so", UsageError, "^so$"),
        (
            os._exit,
            7,
            MedkitError,
            "^expected a process that can do it, got one that ended with exit code 7$",
        ),
    ],
)
def test_what_goes_wrong_in_it_is_told(ask, given, error, words):
    with pytest.raises(error, match=words):
        ask_elsewhere(600.0, "do it", ask, given)


def test_what_does_not_answer_is_told_and_ended():
    with pytest.raises(
        MedkitError, match=r"expected a process that can wait within 0\.1 seconds, got no answer; see"
    ):
        ask_elsewhere(0.1, "wait", time.sleep, 3600)
    assert multiprocessing.active_children() == []
