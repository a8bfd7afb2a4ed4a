"""Overrides of config keys from the command line, checked: MONAI ignores a mistyped one.

``inferer::overlap=0.5`` is taken if the key exists, or if the component it belongs to has a parameter of that
name.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["apply_overrides", "hint_at_whole_components", "parse_overrides"]

SEPARATOR, TARGET = "::", "_target_"
_WHOLE = (
    "to put another component in its place, give the whole of it, such as --set "
    "'network_def={_target_: medkit.networks.create, name: unet, ...}'"
)


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn ``key=value`` words into a mapping; values are YAML (numbers, lists, true, strings).

    >>> parse_overrides(["inferer::overlap=0.5", "run_name=trial"])
    {'inferer::overlap': 0.5, 'run_name': 'trial'}

    Raises:
        UsageError: a word without ``=`` or with an unreadable value.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    overrides = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (equals and key):
            raise UsageError(f"--set {pair}: expected key=value, such as inferer::overlap=0.5")
        # `@` begins a reference in MONAI's language and is reserved in YAML.
        try:
            overrides[key] = text if text[:1] in "@$%" else YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"--set {pair}: the value cannot be read ({reason})") from error
    return overrides


def apply_overrides(config: dict[str, Any], overrides: dict[str, Any], where: str) -> None:
    """Set each key in ``config``, in place.

    Args:
        config: a bundle's config as parsed from its file.
        overrides: key path (``::`` between levels) to new value.
        where: the config's file, for messages.

    Raises:
        UsageError: a key that the config does not have and its component does not accept, or a value of
            another kind than the present one.
    """
    for key, value in overrides.items():
        *parents, last = key.split(SEPARATOR)
        node: Any = config
        for depth, name in enumerate(parents):
            node = _child(node, name, SEPARATOR.join(parents[:depth]), key, where)
        if not isinstance(node, dict) or (last not in node and last not in _parameters(node)):
            raise _unknown(key, last, node, SEPARATOR.join(parents), where)
        _check_kind(key, node.get(last), value, where)
        node[last] = value


def hint_at_whole_components(overrides: Iterable[str]) -> str:
    """What to add to the failure of a part, where a class was changed and the arguments of another left."""
    return f"; {_WHOLE}" if any(key.endswith(f"{SEPARATOR}{TARGET}") for key in overrides) else ""


def _check_kind(key: str, present: Any, value: Any, where: str) -> None:
    """Refuse a word where the config has a number, and the like.

    References and expressions pass, and so does what switches a part off: null, or false for a component.
    """
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    expected = kinds.get(type(present))
    is_language = isinstance(value, str) and value[:1] in ("$", "@", "%")
    switches_off = value is None or (value is False and isinstance(present, dict))
    if expected is None or is_language or switches_off:
        return
    if kinds.get(list if isinstance(value, tuple) else type(value)) != expected:
        hint = f"; {_WHOLE}" if isinstance(present, dict) and TARGET in present else ""
        raise UsageError(
            f"--set {key}: expected {expected} (now {present!r} in {where}), got {value!r}{hint}"
        )


def _child(node: Any, name: str, path: str, key: str, where: str) -> Any:
    if isinstance(node, dict) and name in node:
        return node[name]
    raise _unknown(key, name, node, path, where)


def _unknown(key: str, name: str, node: Any, path: str, where: str) -> UsageError:
    if isinstance(node, list):
        return UsageError(
            f"--set {key}: '{path}' is a list in {where}, and a place in a list is no name; "
            "override a key that the list refers to"
        )
    choices = [k for k in node if not k.startswith("_")] + _parameters(node) if isinstance(node, dict) else []
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    place = f"'{path}'" if path else "the config"
    known = ", ".join(dict.fromkeys(choices)) or "no keys"
    hint = f"did you mean '{close[0]}'?" if close else f"it has: {known}"
    return UsageError(f"--set {key}: {place} has no '{name}' in {where}; {hint}")


def _parameters(node: dict[str, Any]) -> list[str]:
    """Names of the parameters that a component's class or function accepts."""
    target = node.get(TARGET)
    if not isinstance(target, str) or target.startswith("$"):
        return []
    from monai.bundle import ComponentLocator
    from monai.utils import optional_import

    module = ComponentLocator().get_component_module_name(target)
    module = module[0] if isinstance(module, list) else module
    path = target if module is None else f"{module}.{target}"
    component, found = optional_import(path.rpartition(".")[0], name=path.rpartition(".")[2])
    if not found:
        return []
    try:
        parameters = inspect.signature(component).parameters.values()
    except (TypeError, ValueError):  # something built in, which does not tell
        return []
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
