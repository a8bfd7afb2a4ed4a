"""Configs as built: each part can be made without its data, and does what it is called for."""

from __future__ import annotations

import json

import pytest

from tests.bundle.breaking import INFERENCE, TRAIN, put
from tests.bundle.checks.problems import check, expect, problems
from tests.tiny_bundle import edit_json


def test_own_bundle_without_train_config(own):
    (own / TRAIN).unlink()
    expect(own, "train config", TRAIN, "missing", only=False)
    expect(own, "text as built", TRAIN, only=False)


def test_every_training_config_is_built(tiny):
    more = tiny / "configs" / "more.json"
    more.write_text((tiny / TRAIN).read_text())
    assert "train config" not in problems(tiny)
    put(tiny, "configs/more.json", "network_def::filters", [4, 8, 8, 16])
    expect(tiny, "train config", "configs/more.json", "its weights would not fit")
    put(tiny, "configs/more.json", "lr_scheduler::max_lr", "@learn")
    expect(tiny, "references", "configs/more.json", "'@learn' leads nowhere", only=False)


def test_weights_to_begin_with_are_not_needed_for_a_check(tiny):
    put(tiny, TRAIN, "initial_weights", "$@bundle_root + '/models/none.pt'")
    assert "train config" not in problems(tiny)


def test_more_data_sets_than_one_are_stood_in_for(tiny):
    put(tiny, TRAIN, "more_dataset_dir", "$datalist.find_dataset('nowhere')")
    put(tiny, TRAIN, "more_items", "$datalist.fold_label_maps(@more_dataset_dir, [0])")
    assert "train config" not in problems(tiny)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("clip_outliers::lower", 200, ["'clip_outliers'", "ValueError"]),
     ("resample::pixdim", "wide", ["'resample'"]),
     ("save_labels::writer", "$functools.partial(medkit_data.LabelWriter, names=int('x'))",
      ["'save_labels::writer'", "ValueError"])],
)  # fmt: skip
def test_an_inference_part_that_cannot_be_built_is_named_and_not_all_that_use_it(tiny, key, value, words):
    put(tiny, INFERENCE, key, value)
    found = problems(tiny)["inference config"]
    assert len(found) == 1
    assert all(word in found[0] for word in [INFERENCE, *words]), found


@pytest.mark.parametrize("value", [None, "someday"])
@pytest.mark.parametrize(
    ("file", "key"),
    [(INFERENCE, "evaluator"), (INFERENCE, "inferer"), (INFERENCE, "preprocessing"), (INFERENCE, "network"),
     (INFERENCE, "dataloader"), (TRAIN, "loss"), (TRAIN, "module"), (TRAIN, "datamodule"),
     (TRAIN, "train::trainer"), (TRAIN, "train::inferer")],
)  # fmt: skip
def test_a_part_that_cannot_do_what_it_is_called_for(tiny, file, key, value):
    put(tiny, file, key, value)
    check_name = "inference config" if file == INFERENCE else "train config"
    found = problems(tiny)
    assert any(file in line and f"'{key}'" in line for line in found.get(check_name, [])), found


@pytest.mark.parametrize(
    ("file", "key", "words"),
    [(INFERENCE, "standardise", ["'preprocessing'", "expected transforms", "7"]),
     (TRAIN, "noise", ["'augmentation'", "expected transforms", "7"]),
     (INFERENCE, "checkpointloader", ["'handlers'", "expected a list of handlers"]),
     (TRAIN, "checkpoint", ["'callbacks'", "expected a list of Lightning callbacks"])],
)  # fmt: skip
def test_a_step_that_is_none(tiny, file, key, words):
    put(tiny, file, key, 7)
    expect(tiny, "inference config" if file == INFERENCE else "train config", file, *words, only=False)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("loss::sigmoid", True, ["'loss'", "softmax"]),
     ("crop::weights", [0.85], ["'crop'"]),
     ("network_def::strides", [1, 2], ["'network_def'", "ValueError"]),
     ("optimizer::lr", -1.0, ["'module'", "learning rate"]),
     ("lr_scheduler::total_steps", -5, ["'module'", "total_steps"]),
     ("train::trainer::precision", "17-true", ["'train::trainer'", "17-true"]),
     ("checkpoint::every_n_epochs", -2, ["'checkpoint'"]),
     ("steps", "$@epochs // 0", ["'steps'", "ZeroDivisionError"])],
)  # fmt: skip
def test_a_train_config_that_cannot_be_built(tiny, key, value, words):
    put(tiny, TRAIN, key, value)
    found = problems(tiny)
    assert list(found) == ["train config"]
    assert len(found["train config"]) == 1
    assert all(word in found["train config"][0] for word in [TRAIN, *words]), found


def test_a_train_network_whose_weights_inference_could_not_load(tiny):
    edit_json(tiny / TRAIN, lambda config: config["network_def"]["filters"].__setitem__(-1, 16))
    expect(tiny, "train config", TRAIN, "'network_def'", "would not fit", INFERENCE)


def test_a_mistake_in_an_expression_is_not_taken_for_want_of_data(tiny):
    put(tiny, TRAIN, "train_folds", "$datalist.remaining_folds(@dataset_dir)")
    expect(tiny, "train config", TRAIN, "'train_folds'", "TypeError")


def test_a_config_that_leaves_python(tiny):
    put(tiny, INFERENCE, "extra", "$exit(3)")
    expect(tiny, "inference config", "SystemExit", only=False)


def test_a_training_in_the_manner_of_the_model_zoo(tiny):
    """Ignite instead of Lightning, lists by glob, shuffled loaders, everything below the data folder."""
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".", "dataset_dir": "/workspace/data/somewhere",
        "ckpt_dir": "$@bundle_root + '/models'", "device": "$torch.device('cuda:0')", "val_interval": 5,
        "images": "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
        "datalist": "$monai.data.load_decathlon_datalist(@dataset_dir + '/dataset.json')",
        "first": "$@datalist[0]",
        "network_def": json.loads((tiny / TRAIN).read_text())["network_def"],
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "DiceLoss", "softmax": True},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 1e-4},
        "train": {
            "preprocessing": {"_target_": "Compose",
                              "transforms": [{"_target_": "LoadImaged", "keys": "image"}]},
            "dataset": {"_target_": "CacheDataset", "data": "$[{'image': i} for i in @images[:-9]]",
                        "transform": "@train::preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@train::dataset", "batch_size": 2,
                           "shuffle": True},
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [{"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir",
                          "save_dict": {"model": "@network"}, "save_final": True}],
            "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 10, "device": "@device",
                        "train_data_loader": "@train::dataloader", "network": "@network",
                        "loss_function": "@loss", "optimizer": "@optimizer", "inferer": "@train::inferer",
                        "train_handlers": "@train::handlers"},
        },
        "run": ["$@train::trainer.run()"],
    }  # fmt: skip
    (tiny / TRAIN).write_text(json.dumps(config))
    assert problems(tiny) == {}
    told = next(finding.check for finding in check(tiny) if finding.check.startswith("train config"))
    assert "empty lists for datalist, first, train::dataset::data" in told
    put(tiny, TRAIN, "train::trainer::amp_kwargs", 3)
    put(tiny, TRAIN, "loss::sigmoid", True)
    expect(tiny, "train config", TRAIN, "'loss'")


@pytest.mark.parametrize("value", ["@run", "%run", "%"])
def test_nothing_is_run_not_even_by_a_part_that_refers_to_the_steps(tiny, tmp_path, value):
    put(tiny, TRAIN, "run", [f"$open('{tmp_path}/ran', 'w')"])
    put(tiny, TRAIN, "tracking_uri", value)
    check(tiny)
    assert not (tmp_path / "ran").exists()
