"""What training and inference do alike: the network, what an image goes through before it, and how it is run.

Held-out cases are scored by these parts, so that figures of a training hold for a bundle in which they are the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medkit.bundle.instance import read_config
from medkit.bundle.overrides import SEPARATOR, apply_overrides
from medkit.data.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.store import BundleFolder

__all__ = ["SHARED", "changed_parts", "shared_config", "shared_overrides", "write_overrides"]

SHARED = ("network_def", "preprocessing", "inferer")
_LONGEST = 120  # characters of a value in a message


def shared_overrides(bundle: BundleFolder, overrides: dict[str, Any]) -> dict[str, Any]:
    """Those changes of a training that inference has to share.

    Args:
        bundle: that is trained.
        overrides: key path to value, of its training config.
    """
    shared = _shared_parts(read_config(bundle, "inference"))
    return {key: value for key, value in overrides.items() if key.partition(SEPARATOR)[0] in shared}


def write_overrides(bundle: BundleFolder, overrides: dict[str, Any]) -> None:
    """Write changes into the configs of a bundle: that of inference, and those of trainings.

    Args:
        bundle: to change.
        overrides: of :func:`shared_overrides`.

    Raises:
        UsageError: a config does not take them.
    """
    for kind in ("inference", *bundle.training_configs) if overrides else ():
        text = json.dumps(_changed(bundle, kind, overrides), indent=4, ensure_ascii=False)
        write_text(bundle.config_path(kind), text + "\n")  # JSON, which is YAML too


def changed_parts(config: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """In what the shared parts of two inference configs differ, each as its key path with both values."""
    here, there = (dict(_leaves(_shared_parts(one))) for one in (config, other))
    changed = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    return [f"{key}: {_shown(here.get(key))} and {_shown(there.get(key))}" for key in changed]


def shared_config(bundle: BundleFolder, overrides: dict[str, Any]) -> dict[str, Any]:
    """The inference config of a bundle with those changes of a training that it has to share.

    Raises:
        UsageError: it does not take them.
    """
    return _changed(bundle, "inference", shared_overrides(bundle, overrides))


def _changed(bundle: BundleFolder, kind: str, overrides: dict[str, Any]) -> dict[str, Any]:
    config = read_config(bundle, kind)
    apply_overrides(config, overrides, f"{bundle.name}/configs/{bundle.config_path(kind).name}")
    return config


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _shared_parts(config: dict[str, Any]) -> dict[str, Any]:
    """The shared parts of an inference config, and all that they refer to."""
    from monai.bundle import ReferenceResolver

    found = dict[str, Any]()
    ahead = [*SHARED]
    while ahead:
        key = ahead.pop()
        if key in config and key not in found:
            found[key] = config[key]
            references = ReferenceResolver.find_refs_in_config(config[key], key)
            ahead += [reference.partition(SEPARATOR)[0] for reference in references]
    return found


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, with its key path."""
    if not isinstance(node, dict):
        yield path, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{path}{SEPARATOR}{key}" if path else key)
