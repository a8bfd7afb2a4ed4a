"""Bundles with the model zoo's habits, which medkit's own do not have; their networks have one layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
TO_GRID = [
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"},
]
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "meta_keys": "pred_meta_dict",
    "nearest_interp": False,
    "to_tensor": True,
}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "meta_keys": "pred_meta_dict", "output_dir": "@output_dir"}
SCALE = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": 0,
    "a_max": 550,
    "b_min": 0,
    "b_max": 1,
}
LOADER = {
    "_target_": "CheckpointLoader",
    "load_path": "$@bundle_root + '/models/model.pt'",
    "load_dict": {"model": "@network"},
}
# Weights with which class 1 is what lies above 550, or above one.
BRIGHT = {"weight": [[0.0], [1.0]], "bias": [0.0, -550.0]}
ABOVE_ONE = {"weight": [[0.0], [1.0]], "bias": [0.0, -1.0]}


def config(
    preprocessing: list[Any], postprocessing: list[Any], *, channels: int = 1, classes: int = 2
) -> dict[str, Any]:
    """An inference config in the zoo's usual wording; its data lie where nobody else's do."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data/of_the_author",
        "datalist": "$open(@dataset_dir + '/test.csv').readlines()",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "torch.nn.Conv3d",
            "in_channels": channels,
            "out_channels": classes,
            "kernel_size": 1,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": True,
            "num_workers": 4,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [32, 32, 32],
            "sw_batch_size": 2,
            "overlap": 0.5,
        },
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing},
        "handlers": [LOADER, {"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "evaluating": ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()"],
    }


def with_checkpointloader(parts: dict[str, Any]) -> dict[str, Any]:
    """The zoo's later wording: the weights are loaded by hand before the run."""
    return {
        **parts,
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "checkpointloader": LOADER,
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


def metadata(
    channels: int = 1, names: tuple[str, ...] = ("background", "bright"), **more: Any
) -> dict[str, Any]:
    """Metadata with what the zoo demands."""
    image = {"type": "image", "format": "magnitude", "num_channels": channels, "spatial_shape": [32, 32, 32]}
    pred = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(names),
        "spatial_shape": [32, 32, 32],
    }
    pred["channel_def"] = {str(number): name for number, name in enumerate(names)}
    return {
        "version": "0.3.0",
        "monai_version": "0.9.1",
        "pytorch_version": "1.12.0",
        "numpy_version": "1.22.4",
        "optional_packages_version": {"nibabel": "4.0.1", "pytorch-ignite": "0.4.9"},
        "task": "made in a test",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        **more,
    }


def write_bundle(
    root: Path,
    parts: dict[str, Any],
    about: dict[str, Any],
    *,
    weight: list[list[float]],
    bias: list[float],
    scripts: dict[str, str] | None = None,
    yaml: bool = False,
) -> Path:
    """Write the bundle's files.

    Args:
        root: its folder.
        parts: its inference config.
        about: its metadata.
        weight: (classes, channels) of the network's only layer.
        bias: (classes,).
        scripts: name to text of the modules in ``scripts/``.
        yaml: write the config as YAML.
    """
    for folder in ("configs", "models", *(["scripts"] if scripts else [])):
        (root / folder).mkdir(parents=True)
    if yaml:
        with (root / "configs" / "inference.yaml").open("w") as file:
            YAML(typ="safe").dump(parts, file)
    else:
        (root / "configs" / "inference.json").write_text(json.dumps(parts, indent=4))
    (root / "configs" / "metadata.json").write_text(json.dumps(about, indent=4))
    state = {"weight": torch.tensor(weight)[..., None, None, None], "bias": torch.tensor(bias)}
    torch.save(state, root / "models" / "model.pt")
    for name, text in (scripts or {}).items():
        (root / "scripts" / f"{name}.py").write_text(text)
    return root
