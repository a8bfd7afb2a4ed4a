"""Causes: the innermost error, or medkit's own above it, in one line."""

from __future__ import annotations

import pytest

from medkit.bundle.instance import one_line, root_cause
from medkit.errors import CaseError, UsageError


def chained(make) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def wrap(inner: Exception, *, explicit: bool = True):
    def make():
        try:
            raise inner
        except Exception as error:
            if explicit:
                raise RuntimeError("outer") from error
            raise RuntimeError("outer")  # noqa: B904

    return make


@pytest.mark.parametrize("explicit", [True, False])
def test_the_innermost_error_is_the_cause(explicit):
    inner = ValueError("inner")
    assert root_cause(chained(wrap(inner, explicit=explicit))) is inner


@pytest.mark.parametrize("own", [UsageError("do this"), CaseError("code", "do that")])
def test_an_error_of_medkits_own_ends_the_search(own):
    own.__cause__ = KeyError("beneath")
    assert root_cause(chained(wrap(own))) is own


def test_a_hidden_context_is_no_cause():
    def make():
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert str(root_cause(chained(make))) == "shown"


@pytest.mark.parametrize(
    ("message", "line"),
    [("one", "one"), ("", "ValueError"), ("\n first \nsecond", "first"),
     ("Errors:\n\tmissing x\n\tmore", "Errors: missing x"), ("x" * 400, "x" * 297 + "...")],
)  # fmt: skip
def test_an_error_in_one_line(message, line):
    assert one_line(ValueError(message)) == line
