"""A bundle that predicts in no time: the text of medkit's own, a network of few filters, random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "bundles" / "hippocampus_segmentation_unet"
NAME = "tiny_segmentation"


def few_filters(network: dict[str, Any]) -> None:
    """Make a network definition small, as deep as it is."""
    network["filters"] = [4] + [8] * (len(network["filters"]) - 1)


def forget_measures(metadata: dict[str, Any]) -> None:
    """Take out what was measured with the network of the source."""
    for measured in ("calibration", "volume_intervals"):
        metadata.pop(measured, None)


def make_tiny_bundle(folder: Path, source: Path = SOURCE, name: str = NAME) -> Path:
    """Write the bundle into ``folder``, always with the same weights; return its root."""
    root = folder / name
    shutil.copytree(source, root, ignore=shutil.ignore_patterns("models", "__pycache__"))
    for kind in ("inference", "train"):
        edit_json(root / "configs" / f"{kind}.json", lambda config: few_filters(config["network_def"]))
    edit_json(root / "configs" / "metadata.json", forget_measures)
    save_weights(root)
    return root


def save_weights(root: Path) -> None:
    """Random weights for the network that the inference config now defines, in half precision as ours are."""
    import torch
    from monai.bundle import ConfigParser

    config = json.loads((root / "configs" / "inference.json").read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ConfigParser({"network_def": config["network_def"]}).get_parsed_content("network_def")
    (root / "models").mkdir(exist_ok=True)
    weights = {name: value.half() for name, value in network.state_dict().items()}
    torch.save(weights, root / "models" / "model.pt")


def other_weights(root: Path, file: Path) -> Path:
    """Write weights that differ a little from those of a bundle, and give the file back."""
    import torch

    own = torch.load(root / "models" / "model.pt", weights_only=True)
    torch.save({name: value + 0.1 for name, value in own.items()}, file)
    return file


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=4))
