"""Groups of cases by number."""

from __future__ import annotations

import pytest

from medkit.data.case_groups import case_group
from medkit.errors import UsageError


@pytest.mark.parametrize(("case", "scan"), [("003", 2), ("004", 2), ("005", 3), ("289", 145), ("290", 145)])
def test_consecutive_numbers_go_together(case, scan):
    assert case_group(f"hippocampus_{case}", 2) == f"hippocampus_{scan}"


def test_series_are_kept_apart_and_only_the_last_number_counts():
    assert case_group("site1_02", 2) != case_group("site2_02", 2)
    assert case_group("site1_02", 3) == case_group("site1_03", 3)


def test_a_case_alone_needs_no_number():
    assert case_group("visit", 1) == "visit"
    with pytest.raises(
        UsageError, match="visit: expected a name that ends in a number, to group every 2 cases"
    ):
        case_group("visit", 2)


@pytest.mark.parametrize("number", [0, -2, 1.5, "2"])
def test_what_is_no_number_of_cases_is_refused(number):
    with pytest.raises(UsageError, match="cases_per_group: expected a whole number from 1"):
        case_group("case_1", number)
