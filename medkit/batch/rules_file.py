"""The rules file: YAML 1.2, checked against ``medkit/schemas/rules.schema.json``, with the line of each fault."""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from medkit.batch.rules import Criteria, Range, Rule
from medkit.bundle.fragments import read_yaml
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jsonschema import ValidationError

__all__ = ["check_rules", "read_rules"]

_Place = tuple[str | int, ...]


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a file, in its order.

    Raises:
        UsageError: the file cannot be read, or a rule is wrong: the first fault, with its line and key, and how many
            more there are.
    """
    faults = check_rules(path)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UsageError(f"{faults[0]}{more}")
    return tuple(_rule(rule) for rule in read_yaml(path)["rules"])


def check_rules(path: Path) -> list[str]:
    """What is wrong with a rules file, in one line each, in the order of the file; nothing where all is right.

    Raises:
        UsageError: the file cannot be read as YAML.
    """
    content = read_yaml(path)
    found = [(_place(error), _message(error)) for error in _validator().iter_errors(content)]
    if not found:
        found = list(_contradictions(content["rules"]))
    lines = _lines(path)
    placed = sorted((_line(lines, place), _path(place), message) for place, message in found)
    return [f"{path}: line {line}: {where}: {message}" for line, where, message in placed]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads((files("medkit") / "schemas" / "rules.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _place(error: ValidationError) -> _Place:
    place: _Place = tuple(error.absolute_path)
    strange = _strange_keys(error)
    return (*place, strange[0]) if strange else place


def _message(error: ValidationError) -> str:
    known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    if strange := _strange_keys(error):
        close = difflib.get_close_matches(str(strange[0]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(known)}"
        return f"unknown key '{strange[0]}'; {hint}"
    got = f"none for {error.message.split(' ')[0]}" if error.validator == "required" else repr(error.instance)
    assert isinstance(error.schema, dict)
    return f"expected {error.schema['description']}, got {' '.join(got.split())[:80]}"


def _strange_keys(error: ValidationError) -> list[Any]:
    if error.validator != "additionalProperties" or error.validator_value is not False:
        return []
    assert isinstance(error.schema, dict)
    assert isinstance(error.instance, dict)
    return [key for key in error.instance if key not in error.schema["properties"]]


def _contradictions(rules: list[dict[str, Any]]) -> Iterator[tuple[_Place, str]]:
    """What no schema can say."""
    first: dict[str, int] = {}
    for number, rule in enumerate(rules):
        place: _Place = ("rules", number)
        if rule["name"] in first:
            yield (
                (*place, "name"),
                f"expected a name of its own, got that of rule {first[rule['name']] + 1} again",
            )
        first.setdefault(rule["name"], number)
        if rule.get("series") == "each" and len(rule["inputs"]) > 1:
            yield (*place, "series"), "expected one for a rule of several inputs, got each"
        for name, criteria in rule["inputs"].items():
            for key in ("slice_thickness_mm", "slices"):
                limits = criteria.get(key, {})
                if limits.get("min", 0) > limits.get("max", float("inf")):
                    message = f"expected min below max, got {limits['min']} and {limits['max']}"
                    yield (*place, "inputs", name, key), message


def _lines(path: Path) -> Any:
    """The file as nodes that know their lines."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).compose(path.read_text(encoding="utf-8"))


def _line(node: Any, place: _Place) -> int:
    """Line of a place, from 1: of its key where it has one."""
    line = int(node.start_mark.line) + 1
    for step in place:
        if isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            key, node = next(pair for pair in node.value if pair[0].value == str(step))
            line = key.start_mark.line + 1
    return line


def _path(place: _Place) -> str:
    text = "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.lstrip(".") or "the whole"


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
