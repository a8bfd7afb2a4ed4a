"""Which bundle a study goes to: rules that fit, or a refusal, and never a guess.

A rule names a bundle and, for each of its inputs, what the series is like. What a rule asks about and a series does not
tell is no match. Nothing fits: the study is not for us. Two bundles for a series, or two series for an input: refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FACTS", "Choice", "Criteria", "Job", "Range", "Rule", "choose", "might_fit", "mismatch"]

FACTS = (
    "series",  # names it within the study, without the patient
    "patient",
    "study",
    "frame_of_reference",
    "modality",
    "body_part",
    "series_description",
    "slice_thickness_mm",
    "slices",
    "contrast_agent",
    "image_type",
    "own_result",
)
_CODE = re.compile(r"[A-Z]{2}")  # such as most modalities
# Of these, those that criteria ask about under the same name.
_ASKED = ("modality", "body_part", "series_description", "slice_thickness_mm", "slices", "contrast_agent")
_SHARED = ("patient", "study", "frame_of_reference")


@dataclass(frozen=True)
class Range:
    """Both ends belong to it."""

    lowest: float
    highest: float

    def __contains__(self, value: float) -> bool:
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"{self.lowest:g} to {self.highest:g}"


@dataclass(frozen=True)
class Criteria:
    """What a series is like; what is empty or ``None`` is not asked about, save for ``accept``.

    Args:
        modality: such as ``CT``, one of these.
        body_part: one of these.
        series_description: found anywhere in the description.
        slice_thickness_mm: in millimetres.
        slices: their number.
        contrast_agent: whether one was given.
        image_type_has: values that ImageType has, all of them.
        image_type_lacks: values that it has not.
        accept: kinds of series that are otherwise left out: ``derived`` and ``secondary`` by their ImageType,
            ``unmarked`` without one, and ``own-result``, what medkit made.
    """

    modality: frozenset[str]
    body_part: frozenset[str] = frozenset()
    series_description: re.Pattern[str] | None = None
    slice_thickness_mm: Range | None = None
    slices: Range | None = None
    contrast_agent: bool | None = None
    image_type_has: frozenset[str] = frozenset()
    image_type_lacks: frozenset[str] = frozenset()
    accept: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """A bundle, and what the series of each of its inputs is like.

    Args:
        name: of the rule.
        bundle: name of the bundle.
        inputs: name of an input to its criteria.
        each: every series that fits is taken by itself; otherwise a second one is ambiguous.
    """

    name: str
    bundle: str
    inputs: Mapping[str, Criteria]
    each: bool = False


@dataclass(frozen=True)
class Job:
    """A bundle to be run on series: name of an input to that of its series."""

    rule: str
    bundle: str
    inputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Choice:
    """What a study is to be given to.

    Args:
        jobs: none where the study is not for us.
        reasons: one line for each rule that was not taken: what it misses.
    """

    jobs: tuple[Job, ...]
    reasons: tuple[str, ...]


def choose(rules: Sequence[Rule], series: Sequence[Mapping[str, Any]]) -> Choice:
    """Choose the bundles of a study.

    Args:
        rules: all of them.
        series: facts on each series of the study, every key of :data:`FACTS`; ``None`` where a series does not tell.

    Raises:
        CaseError: ``rules-ambiguous``, two series fit one input, or two bundles want one series; ``inputs-apart``, the
            inputs of one job are not of one patient, study and frame of reference. Its message has names out of the
            rules and of series, and nothing else of these: it is kept and shown.
        ValueError: a fact is missing, or two series have one name.
    """
    _check_facts(series)
    jobs: list[Job] = []
    reasons = []
    for rule in rules:
        fitting = {name: _fitting(criteria, series) for name, criteria in rule.inputs.items()}
        lacking = [name for name, found in fitting.items() if not found]
        if lacking:
            reasons += [_why_not(rule, name, series) for name in lacking]
            continue
        jobs += _jobs(rule, fitting)
    _check_one_bundle(jobs)
    for job in jobs:
        _check_together(job, series)
    distinct = {(job.bundle, job.inputs): job for job in reversed(jobs)}  # two rules may mean the same
    return Choice(tuple(reversed(distinct.values())), tuple(reasons))


def mismatch(criteria: Criteria, facts: Mapping[str, Any]) -> str | None:
    """What of a series does not fit, in a few words; ``None`` where all fits."""
    kind = [str(value).upper() for value in facts["image_type"] or ()]
    for wrong in (_left_out(criteria, facts, kind), _words_mismatch(criteria, facts, kind)):
        if wrong:
            return wrong
    pattern, description = criteria.series_description, facts["series_description"]
    if pattern is not None and (description is None or not pattern.search(description)):
        return f"its description does not have {pattern.pattern}"  # nor is it told, which may hold a name
    for name in ("slice_thickness_mm", "slices"):
        wanted, got = getattr(criteria, name), facts[name]
        if wanted is not None and (got is None or got not in wanted):
            return f"{name} {_told(got)}, not {wanted}"
    if criteria.contrast_agent is not None and facts["contrast_agent"] is not criteria.contrast_agent:
        return f"contrast_agent {_told(facts['contrast_agent'])}, not {_told(criteria.contrast_agent)}"
    return None


def might_fit(criteria: Criteria, facts: Mapping[str, Any]) -> bool:
    """Whether a series may fit of which not all facts are known: what is known of it does."""
    unasked = Criteria(modality=frozenset())
    unknown: dict[str, Any] = {name: getattr(unasked, name) for name in _ASKED if facts[name] is None}
    if facts["image_type"] is None:
        unknown |= {"image_type_has": frozenset(), "image_type_lacks": frozenset()}
        unknown["accept"] = criteria.accept | {"unmarked"}
    return mismatch(replace(criteria, **unknown), facts) is None


def _left_out(criteria: Criteria, facts: Mapping[str, Any], kind: list[str]) -> str | None:
    marks = {
        "own-result": bool(facts["own_result"]),
        "derived": kind[:1] == ["DERIVED"],
        "secondary": kind[1:2] == ["SECONDARY"],
        "unmarked": not kind,
    }
    left_out = [mark for mark, has in marks.items() if has and mark not in criteria.accept]
    return f"it is {' and '.join(left_out)}, which is not accepted" if left_out else None


def _words_mismatch(criteria: Criteria, facts: Mapping[str, Any], kind: list[str]) -> str | None:
    for name in ("modality", "body_part"):
        wanted, got = getattr(criteria, name), facts[name]
        if wanted and (got is None or str(got).strip().upper() not in wanted):
            return f"{name} {_shown(got)}, not {' or '.join(sorted(wanted))}"
    if missing := criteria.image_type_has - set(kind):
        return f"image_type without {', '.join(sorted(missing))}"
    if unwanted := criteria.image_type_lacks & set(kind):
        return f"image_type with {', '.join(sorted(unwanted))}"
    return None


def _shown(word: Any) -> str:
    """A word of a header, where it is too short to be about a person; reasons are kept, logged and shown."""
    if word is None:
        return "unknown"
    return str(word) if _CODE.fullmatch(str(word)) else "is another"


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "unknown" if value is None else f"{value}"


def _check_facts(series: Sequence[Mapping[str, Any]]) -> None:
    for facts in series:
        if missing := [name for name in FACTS if name not in facts]:
            raise ValueError(f"expected facts on a series with {', '.join(FACTS)}, got none on {missing[0]}")
    names = [facts["series"] for facts in series]
    if len(names) != len(set(names)):
        raise ValueError(f"expected a name of its own for each series, got {names}")


def _fitting(criteria: Criteria, series: Sequence[Mapping[str, Any]]) -> list[str]:
    return [facts["series"] for facts in series if mismatch(criteria, facts) is None]


def _why_not(rule: Rule, name: str, series: Sequence[Mapping[str, Any]]) -> str:
    found = [f"{facts['series']}: {mismatch(rule.inputs[name], facts)}" for facts in series]
    return f"rule '{rule.name}': no series for '{name}' ({'; '.join(found) or 'there is none'})"


def _jobs(rule: Rule, fitting: dict[str, list[str]]) -> list[Job]:
    if rule.each:
        ((name, found),) = fitting.items()
        return [Job(rule.name, rule.bundle, ((name, one),)) for one in found]
    for name, found in fitting.items():
        if len(found) > 1:
            raise CaseError(
                "rules-ambiguous",
                f"rule '{rule.name}': expected one series for '{name}', got {', '.join(found)}; make the rule "
                "narrower, or let it take each",
            )
    taken: dict[str, str] = {}
    for name, (one,) in fitting.items():
        if one in taken:
            raise CaseError(
                "rules-ambiguous",
                f"rule '{rule.name}': expected a series of its own for '{taken[one]}' and '{name}', got {one} for both; "
                "make the rule narrower",
            )
        taken[one] = name
    return [Job(rule.name, rule.bundle, tuple((name, one) for name, (one,) in fitting.items()))]


def _check_one_bundle(jobs: list[Job]) -> None:
    wanted: dict[str, Job] = {}
    for job in jobs:
        for _, one in job.inputs:
            first = wanted.setdefault(one, job)
            if (first.bundle, first.inputs) != (job.bundle, job.inputs):
                raise CaseError(
                    "rules-ambiguous",
                    f"series {one}: expected one rule for it, got '{first.rule}' ({first.bundle}) and '{job.rule}' "
                    f"({job.bundle}); make them exclude each other",
                )


def _check_together(job: Job, series: Sequence[Mapping[str, Any]]) -> None:
    facts = {one["series"]: one for one in series}
    if len(job.inputs) < 2:
        return
    for shared in _SHARED:
        found = {facts[one][shared] for _, one in job.inputs}
        if len(found) > 1 or None in found:
            what = "an unknown one" if None in found else "different ones"
            raise CaseError(
                "inputs-apart",
                f"rule '{job.rule}': expected inputs of one {shared.replace('_', ' ')}, got {what} in "
                f"{', '.join(one for _, one in job.inputs)}; send those of one examination",
            )
