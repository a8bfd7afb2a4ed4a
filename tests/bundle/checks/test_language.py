"""Configs as text: a mistyped target, argument, reference or name is told with what was meant."""

from __future__ import annotations

import json

import pytest

from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, drop, put
from tests.bundle.checks.problems import expect, problems


@pytest.mark.parametrize(
    ("file", "key", "value", "hint"),
    [(INFERENCE, "orient::_target_", "Orientatoind", "Orientationd"),
     (INFERENCE, "network_def::_target_", "DynUNets", "DynUNet"),
     (TRAIN, "noise::_target_", "RandGausianNoised", "RandGaussianNoised"),
     (TRAIN, "logger::_target_", "medkit.training.tracking.TrackingLoger", "TrackingLogger"),
     (TRAIN, "train::trainer::_target_", "pytorch_lightnin.Trainer", "is pytorch_lightnin installed"),
     (TRAIN, "noise::_target_", 7, "got 7"),
     (TRAIN, "noise::_target_", "", "got ''"),
     (TRAIN, "seed", {"_target_": "monai.transforms"}, "not a class or function")],
)  # fmt: skip
def test_a_mistyped_target(tiny, file, key, value, hint):
    put(tiny, file, key, value)
    expect(tiny, "targets", file, key.removesuffix("::_target_"), hint, only=False)


def test_a_mistyped_target_in_any_other_config(tiny):
    (tiny / "configs" / "evaluate.json").write_text(
        json.dumps({"metric": [{"_target_": "MeanDise", "include_background": False}], "x": "@not_here"})
    )
    expect(tiny, "targets", "configs/evaluate.json", "'metric::0'", "'MeanDise'", "MeanDice")


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [(INFERENCE, "orient::axcode", "RAS", ["'orient'", "unexpected keyword argument 'axcode'", "'axcodes'?"]),
     (TRAIN, "crop_random::roi", [1, 1, 1], ["'crop_random'", "'roi'"]),
     (TRAIN, "optimizer::weight_deacy", 0.1, ["'optimizer'", "'weight_deacy'", "'weight_decay'?"]),
     (TRAIN, "logger::run", "x", ["'logger'", "'run'"]),
     (TRAIN, "optimizer::_mode_", "debug", ["'optimizer'", "_mode_", "debug"])],
)  # fmt: skip
def test_an_argument_that_the_component_does_not_take(tiny, file, key, value, words):
    put(tiny, file, key, value)
    expect(tiny, "targets", file, *words, only=False)


def test_an_argument_that_is_lacking(tiny):
    drop(tiny, INFERENCE, "clip_outliers::b_max")
    expect(tiny, "targets", INFERENCE, "'clip_outliers'", "missing", "'b_max'", only=False)


def test_a_module_that_raises_while_it_is_imported(tiny):
    (tiny / "scripts").mkdir()
    (tiny / "scripts" / "broken.py").write_text("raise RuntimeError('out of order')")
    put(tiny, INFERENCE, "extra", {"_target_": "scripts.broken.Thing"})
    expect(tiny, "targets", INFERENCE, "'extra'", "cannot be imported", "out of order", only=False)


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [(INFERENCE, "dataset::transform", "@preprocesing",
      ["'dataset::transform'", "@preprocesing", "'preprocessing'?"]),
     (INFERENCE, "handlers", ["@checkpointloder"],
      ["'handlers::0'", "@checkpointloder", "'checkpointloader'?"]),
     (INFERENCE, "extra", "@", ["'extra'", "'@' leads nowhere"]),
     (TRAIN, "run", ["$@train::trainr.fit()"], ["'run::0'", "@train::trainr"]),
     (TRAIN, "datamodule::train", "@train::datset", ["'datamodule::train'", "@train::datset"]),
     (INFERENCE, "network", "%configs/no_such_file.json::network", ["macro", "no_such_file"])],
)  # fmt: skip
def test_a_reference_that_leads_nowhere(tiny, file, key, value, words):
    put(tiny, file, key, value)
    expect(tiny, "references", file, *words, only=False)


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [(TRAIN, "train::dataset::data", "$datalist.fold_itmes(@dataset_dir)",
      ["'train::dataset::data'", "datalist.fold_itmes", "'fold_items'?"]),
     (TRAIN, "train_folds", "$datalst.remaining_folds(@dataset_dir, @fold)",
      ["'train_folds'", "'datalst' is unknown", "'datalist'?"]),
     (INFERENCE, "run", ["$@evaluator.run("], ["'run::0'", "is not Python"]),
     (INFERENCE, "run", ["$x = @evaluator"], ["'run::0'", "is not Python"]),
     (INFERENCE, "output_dir", "$", ["'output_dir'", "is not Python"]),
     (INFERENCE, "imports",
      ["$import medkit.data as medkit_data", "$import functools", "$import no_such_module"],
      ["'imports::2'", "import no_such_module"]),
     (TRAIN, "steps", "$torch.cuda.no_such_thing(1)", ["'steps'", "torch.cuda.no_such_thing"])],
)  # fmt: skip
def test_an_expression_that_cannot_be_evaluated(tiny, file, key, value, words):
    put(tiny, file, key, value)
    expect(tiny, "expressions", file, *words, only=False)


@pytest.mark.parametrize(
    "value",
    ["$[a * b for a, b in zip([1], [2])]", "$(lambda size: size)(1)", "$sum(@patch_size) + np.pi", "$3"],
)
def test_an_expression_with_names_of_its_own(tiny, value):
    put(tiny, INFERENCE, "extra", value)
    assert problems(tiny) == {}


@pytest.mark.parametrize("text", ["@medkit", "$20, see @price"])
def test_metadata_are_no_config(tiny, text):
    put(tiny, METADATA, "data_source", text)
    assert problems(tiny) == {}
