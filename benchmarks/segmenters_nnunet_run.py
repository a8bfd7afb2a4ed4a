"""Run by the interpreter of nnU-Net's own environment, which has no medkit: prepare a raw data set, or train a fold.

    PYTHON benchmarks/segmenters_nnunet_run.py prepare DATASET
    PYTHON benchmarks/segmenters_nnunet_run.py train DATASET FOLD SEED STEPS DEVICE

The folders come from nnU-Net's environment variables. Training is nnU-Net's own, with its plans, its schedule and its
last weights, but for the number of steps. It logs to stdout; the last line is JSON: a folder with the predictions of
the fold that is held out, with mirroring and one without, and what the training was like.
"""

import json
import math
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"
STEPS_OF_AN_EPOCH = 50


def prepare(dataset: str) -> None:
    number = int(dataset.removeprefix("Dataset")[:3])
    extract_fingerprints([number], num_processes=1, show_progress_bar=False)
    plan_experiments([number])
    preprocess([number], PLANS, (CONFIGURATION,), (1,), show_progress_bar=False)


def train(dataset: str, fold: int, seed: int, steps: int, device: str) -> dict[str, Any]:
    folder = Path(nnUNet_preprocessed.get()) / dataset
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    plans["continue_training"] = False
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    trainer = nnUNetTrainer(
        plans, CONFIGURATION, fold, json.loads((folder / "dataset.json").read_text()), torch.device(device)
    )
    trainer.num_iterations_per_epoch = math.gcd(steps, STEPS_OF_AN_EPOCH)
    trainer.num_epochs = steps // trainer.num_iterations_per_epoch
    trainer.num_val_iterations_per_epoch = 1
    trainer.run_training()
    mirrored = predict(trainer, "mirrored")
    trainer.inference_allowed_mirroring_axes = None
    return {
        "mirrored": mirrored,
        "plain": predict(trainer, "plain"),
        "batch": trainer.batch_size,
        "patch": [int(size) for size in trainer.configuration_manager.patch_size],
        "device": device,
        "precision": "float32" if trainer.grad_scaler is None else "float16 where autocast casts",
    }


def predict(trainer: nnUNetTrainer, name: str) -> str:
    """The fold that is held out, into a folder of this name."""
    trainer.perform_actual_validation()
    folder = Path(trainer.output_folder) / name
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder.with_name("validation").rename(folder))


def main() -> None:
    action, dataset, *rest = sys.argv[1:]
    if action == "prepare":
        prepare(dataset)
    else:
        fold, seed, steps = map(int, rest[:3])
        print(json.dumps(train(dataset, fold, seed, steps, rest[3])))


if __name__ == "__main__":
    main()
