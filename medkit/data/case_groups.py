"""Which cases belong together, by their names."""

from __future__ import annotations

import re

from medkit.errors import UsageError

__all__ = ["case_group"]

_NUMBERED = re.compile(r"(.*?)(\d+)")


def case_group(case: str, cases_per_group: int) -> str:
    """Name of the group that a case is in, where cases are numbered from 1 and groups follow each other.

    Args:
        case: such as ``hippocampus_017``.
        cases_per_group: 2 where numbers 2k-1 and 2k are the two sides of scan k; some may be missing. With 1 a case is
            its own group, and needs no number.

    Raises:
        UsageError: the name does not end in a number and is not alone in its group, or ``cases_per_group`` is no
            number of cases.

    >>> [case_group(f"hippocampus_{number:03d}", 2) for number in (1, 2, 3, 4)]
    ['hippocampus_1', 'hippocampus_1', 'hippocampus_2', 'hippocampus_2']
    """
    if not isinstance(cases_per_group, int) or cases_per_group < 1:
        raise UsageError(
            f"cases_per_group: expected a whole number from 1, got {cases_per_group!r}; correct it"
        )
    if cases_per_group == 1:
        return case
    if not (found := _NUMBERED.fullmatch(case)):
        raise UsageError(
            f"{case}: expected a name that ends in a number, to group every {cases_per_group} cases by it, got one that "
            "does not; rename the cases, or leave cases_per_group out"
        )
    prefix, number = found.groups()
    return f"{prefix}{-(-int(number) // cases_per_group)}"
