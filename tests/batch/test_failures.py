from __future__ import annotations

import pytest

from medkit.batch.failures import Failures


def test_the_others_go_on_and_the_first_failure_is_raised_in_the_end():
    failures, done = Failures(), []
    failures.raise_first()
    for number in range(4):
        with failures.kept():
            if number % 2:
                raise OSError(f"number {number}")
            done.append(number)
    assert done == [0, 2]
    with pytest.raises(OSError, match="number 1"):
        failures.raise_first()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_is_no_failure_of_the_disk_is_raised_at_once(error):
    failures = Failures()
    with pytest.raises(error), failures.kept():
        raise error
    failures.raise_first()


def test_other_kinds_of_errors_may_be_kept_too():
    failures = Failures(OSError, ValueError)
    for error in ValueError("first"), OSError("second"):
        with failures.kept():
            raise error
    with pytest.raises(ValueError, match="first"):
        failures.raise_first()
