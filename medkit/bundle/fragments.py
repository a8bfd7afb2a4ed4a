"""Read the hand-written YAML of `configs/` and merge what it extends.

MONAI's own parser replaces whole dictionaries where a fragment should be merged into them, and its YAML 1.1
reads ``1e-4`` as a string and ``on`` as true. Here dictionaries merge deeply, lists are replaced, numbers are
YAML 1.2's, and an unknown parent or key written twice is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medkit.bundle.overrides import TARGET
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["merge", "read_fragment", "read_yaml"]

EXTENDS = "extends"
_MOST_LEVELS = 100


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML 1.2 mapping.

    Raises:
        UsageError: no such file, another encoding than UTF-8, a syntax error, a key given twice, an alias inside of what
            it stands for, too many levels, or not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import YAMLError

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8")
        content = YAML(typ="safe", pure=True).load(text)
        levels = _levels(content, {})
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected text in UTF-8, got something else; save it as UTF-8") from error
    except DuplicateKeyError as error:
        faults = [*_keys_given_twice(YAML(typ="safe", pure=True).compose(text), "", set())]
        if not faults:  # written in two ways, as 1 and 1.0
            faults = [
                f"line {error.problem_mark.line + 1}: expected a key once, got it again; leave one of them out"
            ]
        raise UsageError("\n".join(f"{path}: {fault}" for fault in faults)) from error
    except YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        levels = math.inf
    if levels > _MOST_LEVELS:
        raise UsageError(
            f"{path}: expected at most {_MOST_LEVELS} levels of lists and mappings, got more; write it flatter, and no "
            "alias (*) inside of what it stands for (&)"
        )
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a mapping at the top, got {type(content).__name__}")
    return content


def _keys_given_twice(node: Any, place: str, seen: set[int]) -> Iterator[str]:
    """One line for each key that a mapping has already, below a node of YAML; what aliases repeat is told once.

    Keys that are lists or mappings have no name to be told by.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for number, child in enumerate(node.value, 1):
            yield from _keys_given_twice(child, f"{place}[{number}]", seen)
    elif node.id == "mapping":
        first: dict[tuple[str, str], Any] = {}
        for key, child in node.value:
            if key.id != "scalar":
                yield from _keys_given_twice(child, place, seen)
                continue
            inside, line = f"{place}.{key.value}".lstrip("."), key.start_mark.line + 1
            known = first.setdefault((key.tag, key.value), key)
            if known is not key:
                before = known.start_mark.line + 1
                yield f"line {line}: {inside}: expected a key once, got it in line {before} too; leave one of them out"
            yield from _keys_given_twice(child, inside, seen)


def _levels(content: Any, known: dict[int, float]) -> float:
    """How many lists and mappings lie in each other: infinitely many where an alias is inside of what it stands for."""
    if not isinstance(content, dict | list):
        return 0
    if id(content) not in known:
        known[id(content)] = math.inf  # until its own are counted
        inside = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + max((_levels(child, known) for child in inside), default=0)
    return known[id(content)]


def read_fragment(path: Path, _below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file and merge it over the files that its ``extends`` names, first to last.

    Args:
        path: the file; the names in ``extends`` are relative to its folder.

    Raises:
        UsageError: a parent is no name or does not exist, files extend each other in a circle, or see
            :func:`read_yaml`.
    """
    path = path.resolve()
    if path in _below:
        circle = " -> ".join(str(p.name) for p in (*_below, path))
        raise UsageError(f"{path}: files extend each other in a circle: {circle}")
    content = read_yaml(path)
    merged: dict[str, Any] = {}
    for name in _parents(content.pop(EXTENDS, []), path):
        parent = path.parent / name
        if not parent.is_file():
            raise UsageError(f"{path}: extends '{name}', but there is no {parent}")
        merged = merge(merged, read_fragment(parent, (*_below, path)))
    return dict(merge(merged, content))


def _parents(names: Any, path: Path) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UsageError(f"{path}: '{EXTENDS}' names a file or a list of files, got {names!r}")
    return listed


def merge(below: Any, above: Any) -> Any:
    """Merge two configs: dictionaries deeply, anything else replaced by what lies above.

    A part of another class replaces the one below: its arguments are its own.

    >>> merge({"net": {"_target_": "UNet", "depth": 3}}, {"net": {"depth": 4}})
    {'net': {'_target_': 'UNet', 'depth': 4}}
    >>> merge({"net": {"_target_": "UNet", "depth": 3}}, {"net": {"_target_": "SegResNet"}})
    {'net': {'_target_': 'SegResNet'}}
    """
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if TARGET in below and above.get(TARGET, below[TARGET]) != below[TARGET]:
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = merge(below[key], value) if key in below else value
    return merged
