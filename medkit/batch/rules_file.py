"""The rules file: YAML 1.2, checked against ``medkit/schemas/rules.schema.json``, with the line of each fault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from medkit.batch.rules import Criteria, Range, Rule
from medkit.batch.yaml_faults import Place, check_yaml, raise_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_rules", "read_rules"]


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a file, in its order.

    Raises:
        UsageError: the file cannot be read, or rules are wrong: each fault in a line of its own, with its line and key.
    """
    content, faults = _checked(path)
    raise_faults(faults)
    return tuple(_rule(rule) for rule in content["rules"])


def check_rules(path: Path) -> list[str]:
    """What is wrong with a rules file, in one line each, in the order of the file; nothing where all is right.

    Raises:
        UsageError: the file cannot be read as YAML.
    """
    return _checked(path)[1]


def _checked(path: Path) -> tuple[dict[str, Any], list[str]]:
    return check_yaml(path, "rules.schema.json", lambda content: _contradictions(content["rules"]))


def _contradictions(rules: list[dict[str, Any]]) -> Iterator[tuple[Place, str]]:
    """What no schema can say."""
    first: dict[str, int] = {}
    for number, rule in enumerate(rules):
        place: Place = ("rules", number)
        if rule["name"] in first:
            yield (
                (*place, "name"),
                f"expected a name of its own, got that of rule {first[rule['name']] + 1} again",
            )
        first.setdefault(rule["name"], number)
        if rule.get("series") == "each" and len(rule["inputs"]) > 1:
            yield (*place, "series"), "expected one for a rule of several inputs, got each"
        for name, criteria in rule["inputs"].items():
            yield from _wrong_modalities(criteria["modality"], (*place, "inputs", name, "modality"))
            for key in ("slice_thickness_mm", "slices"):
                limits = criteria.get(key, {})
                if limits.get("min", 0) > limits.get("max", float("inf")):
                    message = f"expected min below max, got {limits['min']} and {limits['max']}"
                    yield (*place, "inputs", name, key), message


def _wrong_modalities(given: str | list[str], place: Place) -> Iterator[tuple[Place, str]]:
    """What no series has: every study would be skipped."""
    from medkit.dicom.modalities import modality_fault

    for number, word in enumerate([given] if isinstance(given, str) else given):
        if (fault := modality_fault(word)) is not None:
            yield place if isinstance(given, str) else (*place, number), fault


def _rule(rule: dict[str, Any]) -> Rule:
    inputs = {name: _criteria(given) for name, given in rule["inputs"].items()}
    return Rule(rule["name"], rule["bundle"], inputs, each=rule.get("series") == "each")


def _criteria(given: dict[str, Any]) -> Criteria:
    kind = given.get("image_type", {})
    pattern = given.get("series_description")
    return Criteria(
        modality=_words(given["modality"]),
        body_part=_words(given.get("body_part")),
        series_description=re.compile(pattern) if pattern is not None else None,
        slice_thickness_mm=_range(given.get("slice_thickness_mm")),
        slices=_range(given.get("slices")),
        contrast_agent=given.get("contrast_agent"),
        image_type_has=_words(kind.get("has")),
        image_type_lacks=_words(kind.get("lacks")),
        accept=frozenset(given.get("accept", ())),
    )


def _words(given: str | list[str] | None) -> frozenset[str]:
    words = [given] if isinstance(given, str) else given or []
    return frozenset(word.strip().upper() for word in words)


def _range(given: dict[str, float] | None) -> Range | None:
    return None if given is None else Range(given.get("min", 0.0), given.get("max", float("inf")))
