"""Ways to break a copy of the tiny bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.tiny_bundle import edit_json

INFERENCE, TRAIN, METADATA = "configs/inference.json", "configs/train.json", "configs/metadata.json"
WEIGHTS = "models/model.pt"


def put(root: Path, file: str, key: str, value) -> None:
    """Set a key path in a JSON file of the bundle."""
    *parents, last = key.split("::")
    edit_json(root / file, lambda content: _inside(content, parents).update({last: value}))


def drop(root: Path, file: str, key: str) -> None:
    """Take a key path out of a JSON file of the bundle."""
    *parents, last = key.split("::")
    edit_json(root / file, lambda content: _inside(content, parents).pop(last))


def _inside(content: dict[str, Any], parents: list[str]) -> dict[str, Any]:
    for name in parents:
        content = content[name]
    return content


def change_weights(root: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Store what the change gives, or the weights themselves where it alters them in place."""
    weights = torch.load(root / WEIGHTS, weights_only=True)
    torch.save(change(weights) or weights, root / WEIGHTS)
