"""Checking a bundle: a healthy one passes, each way of breaking one is told in one line that names it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from medkit.bundle import store
from medkit.bundle.check import Finding, check_bundle
from medkit.bundle.checks.weights import SIZE_LIMIT
from medkit.bundle.store import BundleFolder, bundles_root, list_bundles
from tests.tiny_bundle import edit_json, few_filters, save_weights

INFERENCE, TRAIN, METADATA = "configs/inference.json", "configs/train.json", "configs/metadata.json"
WEIGHTS = "models/model.pt"


def check(root: Path) -> list[Finding]:
    return check_bundle(BundleFolder(root))


def problems(root: Path) -> dict[str, list[str]]:
    """Check to problems; each is one line and has no path of this machine in it."""
    found: dict[str, list[str]] = {}
    for finding in check(root):
        if finding.problem is not None:
            assert "\n" not in finding.problem
            assert str(root) not in finding.problem
            found.setdefault(finding.check, []).append(finding.problem)
    return found


def expect(root: Path, name: str, *words: str, only: bool = True) -> None:
    """The check has a problem that holds all the words; with ``only``, no other check has one."""
    found = problems(root)
    assert any(all(word in line for word in words) for line in found.get(name, [])), found
    if only:
        assert list(found) == [name], found


def put(root: Path, file: str, key: str, value) -> None:
    """Set a key path in a JSON file of the bundle."""
    *parents, last = key.split("::")

    def change(content):
        for name in parents:
            content = content[name]
        content[last] = value

    edit_json(root / file, change)


def drop(root: Path, file: str, key: str) -> None:
    *parents, last = key.split("::")

    def change(content):
        for name in parents:
            content = content[name]
        del content[last]

    edit_json(root / file, change)


def change_weights(root: Path, change) -> None:
    weights = torch.load(root / WEIGHTS, weights_only=True)
    torch.save(change(weights) or weights, root / WEIGHTS)


# Healthy ones


@pytest.mark.parametrize("name", [bundle.name for bundle in list_bundles()])
def test_medkits_own_bundles_are_healthy(name):
    findings = check_bundle(BundleFolder(bundles_root() / name))
    assert [finding for finding in findings if finding.problem] == []
    assert Finding("text as built") in findings


def test_there_are_bundles_of_its_own():
    assert list_bundles()


@pytest.mark.parametrize("data", [None, "folder"])
def test_a_healthy_bundle_passes_without_its_data(tiny, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    for name in ("MEDKIT_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    if data:
        monkeypatch.setenv("MEDKIT_DATA", str(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    assert problems(tiny) == {}
    checks = {finding.check for finding in check(tiny)}
    told = next(name for name in checks if name.startswith("train config"))
    assert "without data" in told
    for key in ("train_folds", "train::dataset::data", "validate::dataset::data", "test::dataset::data"):
        assert key in told
    # Checking leaves nothing behind: no run, no tracking database, no predictions.
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts) == before


def test_the_random_numbers_of_the_caller_go_on_as_they_were(tiny):
    def seed():
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    def draw():
        return random.random(), np.random.random(), float(torch.rand(()))

    seed()
    expected = draw()
    seed()
    check(tiny)
    assert draw() == expected


def test_a_bundle_of_others_without_train_config_in_yaml(tiny):
    (tiny / TRAIN).unlink()
    config = json.loads((tiny / INFERENCE).read_text())
    (tiny / INFERENCE).unlink()
    with (tiny / "configs" / "inference.yaml").open("w") as file:
        YAML(typ="safe").dump(config, file)
    drop(tiny, METADATA, "required_packages_version")
    put(tiny, METADATA, "optional_packages_version", {"nibabel": "3.2.1"})
    put(tiny, METADATA, "schema", "https://somewhere.org/meta_schema_20220324.json")
    expect(tiny, "JSON configs", "configs/inference.yaml", "write it as inference.json")
    assert Finding("train config: none") in check(tiny)


def test_a_bundle_with_code_of_its_own(tiny):
    (tiny / "scripts").mkdir()
    (tiny / "scripts" / "__init__.py").touch()
    (tiny / "scripts" / "mine.py").write_text(
        "from monai.transforms import Identityd\nclass Mine(Identityd): pass\ndef number(): return 4\n"
    )
    put(tiny, INFERENCE, "standardise", {"_target_": "scripts.mine.Mine", "keys": "image"})
    put(tiny, INFERENCE, "imports", ["$import medkit.data as medkit_data", "$import functools",
                                     "$from scripts.mine import number"])  # fmt: skip
    put(tiny, INFERENCE, "inferer::sw_batch_size", "$number()")
    assert problems(tiny) == {}
    put(tiny, INFERENCE, "standardise::_target_", "scripts.mine.Mien")
    expect(
        tiny, "targets", INFERENCE, "'standardise'", "scripts.mine.Mien", "did you mean 'Mine'?", only=False
    )


def test_disguised_components_are_left_to_the_build(tiny):
    put(tiny, INFERENCE, "standardise", {"_target_": "$monai.transforms.Identityd", "keys": "image"})
    put(tiny, INFERENCE, "extra", {"_target_": "torch.Size"})
    assert problems(tiny) == {}


# Files


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS, "docs/README.md"])
def test_a_required_file_is_missing(tiny, name):
    (tiny / name).unlink()
    expect(tiny, "files", name, "missing", only=name.startswith("docs"))


@pytest.mark.parametrize("name", [METADATA, WEIGHTS, "docs/README.md"])
def test_a_required_file_is_empty(tiny, name):
    (tiny / name).write_bytes(b"")
    expect(tiny, "files", name, "empty", only=name.startswith("docs"))


def test_weights_that_wait_to_be_downloaded(tiny):
    (tiny / WEIGHTS).unlink()
    (tiny / "large_files.yml").write_text("large_files: []\n")
    expect(tiny, "files", WEIGHTS, "download_large_files", only=False)


@pytest.mark.parametrize("name", [METADATA, INFERENCE, TRAIN])
@pytest.mark.parametrize("content", ["{", "[]", "7", "\x00"])
def test_a_config_that_is_no_json_object(tiny, name, content):
    (tiny / name).write_text(content)
    found = problems(tiny)
    assert any(name in line for lines in found.values() for line in lines), found


def test_an_empty_folder_fails_every_check_that_has_a_subject(tmp_path):
    (tmp_path / "nothing").mkdir()
    findings = check(tmp_path / "nothing")
    passed = {finding.check for finding in findings if finding.problem is None}
    assert passed == {
        "text as built: not one of medkit's own", "train config: none", "TorchScript: no models/model.ts",
    }  # fmt: skip


@pytest.mark.parametrize("content", [None, " \n"])
def test_no_licence(tiny, content):
    (tiny / "LICENSE").unlink()
    if content:
        (tiny / "LICENSE").write_text(content)
    expect(tiny, "licence", "LICENSE", "missing or empty")


# Medkit's own bundles


@pytest.fixture
def own(tiny, tmp_path, monkeypatch):
    """A source tree whose bundle is what its configs give, but for the size of the network."""
    from medkit.bundle.build import write_bundle

    name, repository = "hippocampus_segmentation_unet", Path(__file__).parents[2]
    tree = tmp_path / "tree"
    shutil.copytree(repository / "configs", tree / "configs")
    (tree / "pyproject.toml").touch()
    network, yaml = tree / "configs" / name / "network.yaml", YAML(typ="safe")
    content = yaml.load(network.read_text())
    few_filters(content["network_def"])
    yaml.dump(content, network)
    monkeypatch.setattr(store, "_PACKAGE", tree / "medkit")
    write_bundle(tree / "configs" / name)
    shutil.copytree(tiny / "models", tree / "bundles" / name / "models")
    return tree / "bundles" / name


def test_own_text_as_it_is_built(own):
    assert problems(own) == {}
    assert Finding("text as built") in check(own)


@pytest.mark.parametrize(
    "name", [INFERENCE, TRAIN, METADATA, "configs/logging.conf", "docs/README.md", "LICENSE"]
)
def test_own_text_that_was_edited(own, name):
    with (own / name).open("a") as file:
        file.write("\n")
    expect(own, "text as built", name, "medkit bundle build")


def test_own_text_with_other_line_ends(own):
    (own / INFERENCE).write_bytes((own / INFERENCE).read_bytes().replace(b"\n", b"\r\n"))
    expect(own, "text as built", INFERENCE)


def test_own_bundle_with_a_stray_config(own):
    (own / "configs" / "extra.json").write_text("{}")
    expect(own, "text as built", "configs/extra.json", "delete it")


def test_own_bundle_without_source(own):
    shutil.rmtree(own.parents[1] / "configs" / own.name)
    expect(own, "text as built", f"configs/{own.name}/metadata.yaml", "no such source")


def test_own_bundle_without_train_config(own):
    (own / TRAIN).unlink()
    expect(own, "train config", TRAIN, "missing", only=False)
    expect(own, "text as built", TRAIN, only=False)


def test_own_weights_that_are_too_large(own):
    change_weights(own, lambda w: {**w, "ballast": torch.zeros(SIZE_LIMIT // 4 + 1)})
    expect(own, "weights", WEIGHTS, "8.1 MB", "at most 8 MB")


def test_a_larger_bundle_of_others_is_no_fault(tiny):
    for kind in (INFERENCE, TRAIN):
        edit_json(
            tiny / kind,
            lambda config: config["network_def"]["filters"].__setitem__(slice(-2, None), [256, 256]),
        )
    save_weights(tiny)
    assert (tiny / WEIGHTS).stat().st_size > SIZE_LIMIT
    assert problems(tiny) == {}


def test_own_bundle_in_a_wheel_has_no_sources(own, tmp_path, monkeypatch):
    wheel = tmp_path / "site-packages"
    shutil.copytree(own, wheel / "medkit" / "_bundles" / own.name)
    monkeypatch.setattr(store, "_PACKAGE", wheel / "medkit")
    assert Finding("text as built: no sources here to compare with") in check(
        wheel / "medkit/_bundles" / own.name
    )


# Metadata


@pytest.mark.parametrize(
    "key",
    ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
     "task", "description", "authors", "copyright", "network_data_format", "network_data_format::inputs",
     "network_data_format::outputs"],
)  # fmt: skip
def test_metadata_without_a_key(tiny, key):
    drop(tiny, METADATA, key)
    parent, _, last = key.rpartition("::")
    expect(tiny, "metadata schema", METADATA, parent or "top level", f"'{last}' is a required", only=False)


@pytest.mark.parametrize("key", ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"])
@pytest.mark.parametrize("tensor", ["inputs::image", "outputs::pred"])
def test_metadata_with_a_tensor_that_lacks_a_key(tiny, tensor, key):
    drop(tiny, METADATA, f"network_data_format::{tensor}::{key}")
    expect(tiny, "metadata schema", METADATA, f"network_data_format::{tensor}", f"'{key}'", only=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", "first"), ("authors", ["A", "B"]), ("task", ""), ("references", "one"), ("schema", "here"),
     ("changelog", {"0.1.0": 3}), ("required_packages_version", ["monai"]), ("network_data_format", []),
     ("network_data_format::inputs::image", [1]), ("network_data_format::inputs::image::num_channels", 0),
     ("network_data_format::inputs::image::num_channels", "one"),
     ("network_data_format::inputs::image::spatial_shape", [0, 8]),
     ("network_data_format::outputs::pred::value_range", ["low"]),
     ("network_data_format::outputs::pred::is_patch_data", "yes"),
     ("network_data_format::outputs::pred::channel_def", {"0": ""})],
)  # fmt: skip
def test_metadata_of_a_wrong_type(tiny, key, value):
    put(tiny, METADATA, key, value)
    expect(tiny, "metadata schema", METADATA, key, only=False)


def test_a_version_that_the_change_log_does_not_know(tiny):
    put(tiny, METADATA, "version", "0.2.0")
    expect(tiny, "change log", METADATA, "0.2.0", "changelog")


def test_no_change_log(tiny):
    drop(tiny, METADATA, "changelog")
    expect(tiny, "change log", METADATA, "changelog")


@pytest.mark.parametrize(
    ("key", "value"), [("monai_version", "1.10.0"), ("required_packages_version", {"no-such-package": "1.0"})]
)
def test_packages_that_are_not_there(tiny, key, value):
    put(tiny, METADATA, key, value)
    expect(tiny, "package versions", METADATA, "pip install")


# Configs as text


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


# Keys


@pytest.mark.parametrize(
    "key",
    ["bundle_root", "dataset_dir", "output_dir", "device", "network_def", "network", "preprocessing",
     "dataset", "dataset::data", "dataloader", "inferer", "postprocessing", "handlers", "checkpointloader",
     "checkpointloader::map_location", "evaluator", "initialize", "run"],
)  # fmt: skip
def test_an_inference_config_without_a_key_that_clients_look_for(tiny, key):
    drop(tiny, INFERENCE, key)
    expect(tiny, "client keys", INFERENCE, f"'{key}'", only=False)


@pytest.mark.parametrize("place", ["cuda:0", None])
def test_weights_that_would_load_to_the_device_they_came_from(tiny, place):
    put(tiny, INFERENCE, "checkpointloader::map_location", place)
    expect(tiny, "client keys", INFERENCE, "checkpointloader::map_location", "@device", only=False)


@pytest.mark.parametrize(("side", "name"), [("inputs", "image"), ("outputs", "pred")])
def test_tensors_of_another_name(tiny, side, name):
    drop(tiny, METADATA, f"network_data_format::{side}::{name}")
    expect(tiny, "client keys", METADATA, f"network_data_format::{side}::{name}", only=False)


@pytest.mark.parametrize(
    ("file", "key"),
    [(INFERENCE, "evaluator"), (INFERENCE, "device"), (TRAIN, "dataset_dir"), (TRAIN, "train::inferer"),
     (TRAIN, "train::trainer::max_epochs"), (METADATA, "numpy_version")],
)  # fmt: skip
def test_a_property_that_monai_requires(tiny, file, key):
    drop(tiny, file, key)
    expect(tiny, "MONAI properties", file, f"'{key}'", only=False)


@pytest.mark.parametrize("value", ["@train::preprocessing", {"_target_": "Compose", "transforms": []}])
def test_an_optional_part_under_another_name(tiny, value):
    put(tiny, TRAIN, "validate::dataset::transform", value)
    expect(tiny, "MONAI properties", TRAIN, "'validate::dataset::transform'", "@validate::preprocessing")


@pytest.mark.parametrize("value", ["gpu", 1e30, [], "$torch.zeros(1)"])
@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_a_device_that_does_not_exist(tiny, file, value):
    put(tiny, file, "device", value)
    expect(tiny, "client keys", file, "'device'", "cuda:0 or cpu", only=False)


# Configs as built


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
    ("key", "value"),
    [
        ("run", 7),
        ("run", ["$3", 3]),
        ("initialize", "set_determinism(0)"),
        ("run", {"a": 1}),
        ("run", []),
        ("run", None),
    ],
)
@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_steps_that_are_no_expressions(tiny, file, key, value):
    put(tiny, file, key, value)
    expect(tiny, "client keys", file, f"'{key}'", "expected expressions")


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


# Network and labels


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("outputs::pred::dtype", "float16", ["outputs::pred::dtype", "float16"]),
     ("outputs::pred::dtype", "float33", ["outputs::pred::dtype", "float33"]),
     ("inputs::image::dtype", "float64", ["inputs::image", "does not run"]),
     ("inputs::image::spatial_shape", ["8*n", "8*n", "8*n"],
      ["inputs::image", "(1, 1, 8, 8, 8)", "spatial_shape"]),
     ("inputs::image::spatial_shape", ["12*n+4", 16, 16], ["inputs::image", "(1, 1, 28, 16, 16)"]),
     ("inputs::image::spatial_shape", ["8*m", 16, 16], ["spatial_shape", "cannot be read"]),
     ("inputs::image::num_channels", 2, ["inputs::image", "does not run"])],
)  # fmt: skip
def test_a_network_that_is_not_as_declared(tiny, key, value, words):
    put(tiny, METADATA, f"network_data_format::{key}", value)
    expect(tiny, "network", METADATA, *words, only=False)


def test_a_wrong_number_of_output_channels(tiny):
    put(tiny, METADATA, "network_data_format::outputs::pred::num_channels", 4)
    expect(tiny, "network", METADATA, "outputs::pred::num_channels", "declared 4", "gives 3")


def test_an_output_of_another_size(tiny):
    put(tiny, INFERENCE, "network_def", {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3,
                                         "kernel_size": 3})  # fmt: skip
    expect(
        tiny, "network", METADATA, "outputs::pred::spatial_shape", "(16, 16, 16)", "(14, 14, 14)", only=False
    )


@pytest.mark.parametrize(
    ("target", "words"),
    [({"_target_": "torch.nn.LSTM", "input_size": 16, "hidden_size": 4}, ["does not run"]),
     ({"_target_": "monai.transforms.Identity"}, ["'network_def'", "torch.nn.Module"]),
     ({"_target_": "AutoEncoder", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [2, 4],
       "strides": [2, 2]}, ["network"])],
)  # fmt: skip
def test_a_network_of_another_kind(tiny, target, words):
    put(tiny, INFERENCE, "network_def", target)
    found = problems(tiny)
    assert any(all(word in line for word in words) for lines in found.values() for line in lines), found


@pytest.mark.parametrize(
    ("value", "words"),
    [({"0": "background", "1": "anterior hippocampus"}, ["channels 0 to 2", "[0, 1]"]),
     ({"1": "a", "2": "b", "3": "c"}, ["channels 0 to 2", "[1, 2, 3]"]),
     ({"0": "background", "1": "hippocampus", "2": "hippocampus"}, ["twice"]),
     ({"0": "background", "1": "left", "2": "right"}, ["label_names", "left"]),
     ({"zero": "background"}, ["expected"]),
     ({"0": "background", "1": " ", "2": "b"}, ["expected a name"]),
     ({}, ["expected a name"]),
     (["background", "a", "b"], ["expected"])],
)  # fmt: skip
def test_nonsense_in_the_names_of_the_channels(tiny, value, words):
    put(tiny, METADATA, "network_data_format::outputs::pred::channel_def", value)
    expect(tiny, "labels", METADATA, *words, only=False)


def test_no_names_for_the_channels(tiny):
    drop(tiny, METADATA, "network_data_format::outputs::pred::channel_def")
    expect(tiny, "labels", METADATA, "channel_def")


@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_label_names_that_are_not_those_of_the_metadata(tiny, file):
    put(tiny, file, "label_names::2", "hippocampal tail")
    expect(tiny, "labels", file, "'label_names'", "hippocampal tail")


def test_names_of_input_channels_that_are_not_there(tiny):
    put(tiny, METADATA, "network_data_format::inputs::image::channel_def", {"0": "T1", "1": "T2"})
    expect(tiny, "labels", METADATA, "inputs::image::channel_def", "2 channels", "says 1")


def test_one_channel_that_holds_the_label_itself(tiny):
    for file in (INFERENCE, TRAIN):
        put(tiny, file, "network_def::out_channels", 1)
    put(tiny, METADATA, "network_data_format::outputs::pred::num_channels", 1)
    save_weights(tiny)
    assert problems(tiny) == {}


# Weights


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tiny, value):
    def break_one(weights):
        next(iter(weights.values())).view(-1)[0] = value

    change_weights(tiny, break_one)
    name = next(iter(torch.load(tiny / WEIGHTS, weights_only=True)))
    expect(tiny, "weights", WEIGHTS, name, "NaN or infinity")


def test_finite_weights_that_give_nothing_finite(tiny):
    change_weights(tiny, lambda w: {name: torch.full(value.shape, 1e38) for name, value in w.items()})
    expect(tiny, "weights", WEIGHTS, "gives NaN or infinity")


def test_weights_of_another_network(tiny):
    for kind in (INFERENCE, TRAIN):
        edit_json(tiny / kind, lambda config: config["network_def"]["filters"].__setitem__(-1, 16))
    expect(
        tiny,
        "weights",
        WEIGHTS,
        INFERENCE,
        "is (8, 8, 3, 3, 3)",
        "the network wants (16, 8, 3, 3, 3)",
        "more",
    )


def test_weights_that_lack_one(tiny):
    change_weights(tiny, lambda w: {name: w[name] for name in list(w)[1:]})
    expect(tiny, "weights", WEIGHTS, "is not stored")


def test_weights_with_one_too_many(tiny):
    change_weights(tiny, lambda w: {**w, "head.weight": torch.zeros(1)})
    expect(tiny, "weights", WEIGHTS, "the network has no 'head.weight'")


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_weights_below_a_key(tiny, key):
    change_weights(tiny, lambda w: {key: w, "epoch": 3})
    found = problems(tiny)
    # Deploy knows `state_dict`, but the config's own loader does not.
    assert list(found) == ([] if key == "model" else ["weights"]), found


@pytest.mark.parametrize("content", [[], {}, {"a": 3}, torch.zeros(2)])
def test_weights_that_are_no_state_dict(tiny, content):
    torch.save(content, tiny / WEIGHTS)
    expect(tiny, "weights", WEIGHTS, "expected a state dict", "torch.save(network.state_dict()")


def test_weights_that_would_run_code(tiny):
    torch.save(torch.nn.Conv3d(1, 1, 1), tiny / WEIGHTS)
    expect(tiny, "weights", WEIGHTS, "weights_only=True")


def test_weights_that_were_cut_off(tiny):
    content = (tiny / WEIGHTS).read_bytes()
    (tiny / WEIGHTS).write_bytes(content[: len(content) // 2])
    expect(tiny, "weights", WEIGHTS, "cannot be loaded")


def test_weights_that_the_config_loads_from_elsewhere(tiny):
    put(tiny, INFERENCE, "checkpointloader::load_path", "$@bundle_root + '/models/other.pt'")
    expect(tiny, "weights", "models/other.pt", "missing")


# TorchScript


@pytest.fixture
def scripted(tiny):
    from monai.bundle import ckpt_export

    root = str(tiny)
    ckpt_export(
        "network_def", f"{root}/models/model.ts", f"{root}/{WEIGHTS}", meta_file=f"{root}/{METADATA}",
        config_file=[f"{root}/{INFERENCE}"], key_in_ckpt="", bundle_root=root,
    )  # fmt: skip
    return tiny


def test_an_exported_network(scripted):
    assert problems(scripted) == {}
    assert Finding("TorchScript") in check(scripted)


def test_an_export_of_other_weights(scripted):
    change_weights(scripted, lambda w: {name: value + 0.1 for name, value in w.items()})
    expect(scripted, "TorchScript", "models/model.ts", WEIGHTS, "ckpt_export")


def test_an_export_without_its_configs(scripted):
    torch.jit.save(torch.jit.load(scripted / "models/model.ts"), scripted / "models/model.ts")
    expect(scripted, "TorchScript", "models/model.ts", "extra/inference.json")


def test_an_export_of_other_channels(scripted):
    script = torch.jit.script(torch.nn.Conv3d(1, 2, 1))
    torch.jit.save(
        script, scripted / "models/model.ts", _extra_files={"metadata.json": "", "inference.json": ""}
    )
    expect(scripted, "TorchScript", "gives (1, 2, 16, 16, 16)", "(1, 3, 16, 16, 16)")


def test_an_export_that_is_none(tiny):
    (tiny / "models" / "model.ts").write_bytes(b"no zip file")
    expect(tiny, "TorchScript", "models/model.ts", "cannot be loaded")


def test_a_network_that_cannot_be_exported(scripted):
    (scripted / "scripts").mkdir()
    (scripted / "scripts" / "net.py").write_text(
        "from monai.networks.nets import DynUNet\n"
        "class Net(DynUNet):\n    def forward(self, x, **more):\n        return super().forward(x)\n"
    )
    put(scripted, INFERENCE, "network_def::_target_", "scripts.net.Net")
    expect(scripted, "TorchScript", "models/model.ts", "cannot be exported", only=False)


# Whatever is broken


JUNK = st.sampled_from(
    [None, 7, -1.5, "", "@", "$", "@nowhere", "$1/0", [], {}, {"_target_": "Nothing"}, True, "x" * 3000]
)


def key_paths(content, path=()):
    for key, value in content.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from key_paths(value, (*path, key))


@settings(max_examples=15)
@given(data=st.data(), file=st.sampled_from([INFERENCE, TRAIN, METADATA]))
def test_nothing_is_raised_whatever_stands_there(whole_bundle, tmp_path_factory, data, file):
    root = Path(shutil.copytree(whole_bundle, tmp_path_factory.mktemp("junk") / "tiny"))
    content = json.loads((root / file).read_text())
    path = data.draw(st.sampled_from(list(key_paths(content))))
    if data.draw(st.booleans()):
        drop(root, file, "::".join(path))
    else:
        put(root, file, "::".join(path), data.draw(JUNK))
    problems(root)
    shutil.rmtree(root)
