"""What MONAI makes of a bundle, and how alike two masks are."""

from __future__ import annotations

import json

import numpy as np
from monai.bundle import ConfigParser


def dice(one, other):
    return 2 * np.sum(one & other) / (one.sum() + other.sum())


def monai_gives(root, paths):
    """What MONAI's own evaluator makes of the files, from the same config."""
    parts = json.loads((root / "configs" / "inference.json").read_text())
    parts["bundle_root"], parts["device"] = str(root), "cpu"
    parts["datalist"] = f"${[[str(p) for p in paths]]!r}"
    parts["dataloader"]["num_workers"] = 0
    parts["postprocessing"]["transforms"] = [
        step for step in parts["postprocessing"]["transforms"] if step["_target_"] != "SaveImaged"
    ]
    parser = ConfigParser(parts)
    if "initialize" in parts:
        parser.get_parsed_content("initialize")
    evaluator = parser.get_parsed_content("evaluator")
    evaluator.run()
    return evaluator.state.output[0]["pred"]
