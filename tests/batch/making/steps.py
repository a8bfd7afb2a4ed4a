"""Steps for throw-away bundles, which end in what a bundle may end in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medkit.errors import CaseError
from tests.tiny_bundle import edit_json, make_tiny_bundle

ERRORS: dict[str, Exception] = {
    "abstains": CaseError("not-recognised", "expected a brain, got an image that shows none; crop the image"),
    "is out of memory": MemoryError(),
    "fails": ValueError("shapes do not match"),
    "finds the disk full": OSError(28, "No space left on device"),
}


class Raising:
    """A step of a bundle that raises one of :data:`ERRORS`."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ERRORS[self.what]


def bundle_that(folder: Path, what: str) -> Path:
    """A tiny bundle whose preprocessing ends so."""
    root = make_tiny_bundle(folder)

    def change(config: dict[str, Any]) -> None:
        config["last_step"] = {"_target_": "tests.batch.making.steps.Raising", "what": what}
        config["preprocessing"]["transforms"].append("@last_step")

    edit_json(root / "configs" / "inference.json", change)
    return root
