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
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from jsonschema import ValidationError

__all__ = ["Place", "check_yaml", "close_to", "placed", "raise_faults"]

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
        found = [fault for error in _validator(schema).iter_errors(content) for fault in _told(error)]
    if not found:
        found = list(more(content))
    return content, placed(path, found)


def placed(path: Path, found: Iterable[tuple[Place, str]]) -> list[str]:
    """What is wrong in places of a file that can be read, in one line each, in the order of the file."""
    lines = _lines(path)
    told = sorted((_line(lines, place), _path(place), message) for place, message in found)
    return [f"{path}: line {line}: {where}: {message}" for line, where, message in told]


def raise_faults(faults: Iterable[str]) -> None:
    """Raise what is wrong, all of it, if there is anything.

    Raises:
        UsageError: there is a fault; each has a line of the message.
    """
    if faults := list(faults):
        raise UsageError("\n".join(faults))


def close_to(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """What a misspelt key or name may be meant to be; see :func:`difflib.get_close_matches`."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


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


def _told(error: ValidationError) -> Iterator[tuple[Place, str]]:
    """One fault for each key that is wrong in what the schema says of a value."""
    place: Place = tuple(error.absolute_path)
    schema, content = error.schema, error.instance
    assert isinstance(schema, dict)
    got = (
        json.dumps(content) if content is None or isinstance(content, bool) else repr(content)
    )  # as YAML has it
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = schema["properties"]
        for key in _strange_keys(schema, content):
            yield (*place, key), f"unknown key '{key}'; {_hint(key, known)}"
        return
    if error.validator == "required":
        missing = next(key for key in schema["required"] if error.message.startswith(repr(key)))
        if schema.get("additionalProperties") is False and any(
            close_to(key, schema["properties"]) == missing for key in _strange_keys(schema, content)
        ):
            return  # it is there, misspelt, which is told
        got = f"none for '{missing}'"
    yield place, f"expected {schema['description']}, got {' '.join(got.split())[:80]}"


def _hint(key: str, known: Mapping[str, Any]) -> str:
    within = [name for name, schema in known.items() if key in schema.get("properties", ())]
    if len(within) == 1 and not close_to(key, known, cutoff=0.8):
        return f"it belongs in '{within[0]}'"
    close = close_to(key, known)
    return f"did you mean '{close}'?" if close else f"it has: {', '.join(known)}"


def _strange_keys(schema: dict[str, Any], content: Any) -> list[str]:
    return [key for key in content if key not in schema["properties"]]


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
