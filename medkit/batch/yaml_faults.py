"""Faults of a YAML file that a person wrote: each with its line, its key, what was expected and what was got.

The texts come from the schema: whatever may be wrong in it has a ``description``.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from medkit.bundle.fragments import read_yaml
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from jsonschema import ValidationError

__all__ = ["Place", "check_yaml", "raise_first"]

Place = tuple[str | int, ...]
"""The way to a value: keys, and places in lists from 0."""


def check_yaml(
    path: Path, schema: str, more: Callable[[dict[str, Any]], Iterable[tuple[Place, str]]]
) -> tuple[dict[str, Any], list[str]]:
    """Read a file and check it.

    Args:
        path: the file, in YAML 1.2.
        schema: name of a file in ``medkit/schemas``.
        more: asked for what no schema can say, where the schema finds nothing.

    Returns:
        The content, and what is wrong with it in one line each, in the order of the file.

    Raises:
        UsageError: the file cannot be read as YAML.
    """
    content = read_yaml(path)
    found = list(_odd_keys(content))
    if not found:
        found = [(_place(error), _message(error)) for error in _validator(schema).iter_errors(content)]
    if not found:
        found = list(more(content))
    lines = _lines(path)
    placed = sorted((_line(lines, place), _path(place), message) for place, message in found)
    return content, [f"{path}: line {line}: {where}: {message}" for line, where, message in placed]


def raise_first(faults: list[str]) -> None:
    """Raise the first fault, if there is one, and say how many more there are.

    Raises:
        UsageError: there is a fault.
    """
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UsageError(f"{faults[0]}{more}")


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((files("medkit") / "schemas" / name).read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _odd_keys(content: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Keys that are no text, of which schemas and messages know nothing."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(key, str):
                yield from _odd_keys(value, (*place, key))
            else:
                yield place, f"expected text as keys, got {str(key)[:80]}; put it in quotes"
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _odd_keys(value, (*place, number))


def _place(error: ValidationError) -> Place:
    place: Place = tuple(error.absolute_path)
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


def _lines(path: Path) -> Any:
    """The file as nodes that know their lines."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).compose(path.read_text(encoding="utf-8"))


def _line(node: Any, place: Place) -> int:
    """Line of a place, from 1: of its key where it has one, of what it was merged into where it stands elsewhere."""
    line = int(node.start_mark.line) + 1
    for step in place:
        if isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        elif pairs := [pair for pair in node.value if pair[0].value == step]:
            key, node = pairs[0]
            line = key.start_mark.line + 1
        else:
            break
    return line


def _path(place: Place) -> str:
    text = "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.lstrip(".") or "the whole"
