"""Bringing a bundle to life: its parts, its weights, and its own code kept its own."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import sys
import traceback
from pathlib import Path

import pytest
import torch

from medkit.bundle.instance import ConfigInstance, one_line, own_code, read_config, root_cause
from medkit.bundle.store import BundleFolder
from medkit.errors import CaseError, MedkitError, UsageError
from tests.tiny_bundle import edit_json


def write_scripts(root: Path, answer: str, package: bool = True) -> Path:
    """A bundle with `scripts/`: one module that imports another at once, and one when it is called."""
    (root / "scripts").mkdir(parents=True)
    (root / "configs").mkdir()
    if package:
        (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / "helper.py").write_text(f"ANSWER = {answer!r}\nclass Mark: pass\n")
    (root / "scripts" / "late.py").write_text(f"ANSWER = 'late ' + {answer!r}\n")
    (root / "scripts" / "main.py").write_text(
        "from scripts.helper import ANSWER, Mark\n"
        "class Part:\n"
        "    def __init__(self, size=0): self.mark = Mark()\n"
        "    def now(self): return ANSWER\n"
        "    def later(self):\n"
        "        from scripts import late\n"
        "        return late.ANSWER\n"
        "    def same(self):\n"
        "        from scripts.helper import Mark\n"
        "        return isinstance(self.mark, Mark)\n"
    )
    (root / "configs" / "metadata.json").write_text("{}")
    config = {
        "imports": ["$from scripts.helper import ANSWER as answer"],
        "bundle_root": ".",
        "part": {"_target_": "scripts.main.Part"},
        "answer": "$answer",
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    return root


def inference(root: Path, **overrides) -> ConfigInstance:
    return ConfigInstance(BundleFolder(root), "inference", overrides)


@pytest.fixture(autouse=True)
def no_scripts_left_behind():
    path, modules = list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}
    yield
    assert sys.path == path
    assert {name for name in sys.modules if name.split(".")[0] == "scripts"} == modules


@pytest.mark.parametrize("packages", [(True, True), (False, False), (True, False), (False, True)])
def test_two_bundles_with_scripts_each_run_their_own(tmp_path, packages):
    roots = [
        write_scripts(tmp_path / name, name, package) for name, package in zip("ab", packages, strict=True)
    ]
    instances = [inference(root) for root in roots]
    parts = [instance.build("part") for instance in instances]
    assert [part.now() for part in parts] == ["a", "b"]
    assert [instance.build("answer") for instance in instances] == ["a", "b"]
    # What is imported only when the part runs, in any order and more than once.
    for name, root, part in [*zip("ab", roots, parts, strict=True), ("a", roots[0], parts[0])]:
        with own_code(root):
            assert part.later() == f"late {name}"
            assert part.same()


def test_a_program_keeps_its_own_scripts(tmp_path, monkeypatch):
    program = write_scripts(tmp_path / "program", "program")
    monkeypatch.syspath_prepend(str(program))
    import scripts.helper  # the program's

    before = scripts.helper
    try:
        bundle = write_scripts(tmp_path / "bundle", "bundle")
        part = inference(bundle).build("part")
        assert part.now() == "bundle"
        with own_code(bundle):
            assert part.later() == "late bundle"
        from scripts import helper, late

        assert helper is before
        assert late.ANSWER == "late program"
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]


def test_what_the_program_imported_from_the_folder_stays(tmp_path, monkeypatch):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "single.py").write_text("class Part: pass\n")
    with own_code(root):
        import single as put_away
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(tmp_path))  # so that the bundle is not first already
    try:
        import single

        with own_code(root):
            import single as inside
        assert put_away is not single is inside is sys.modules["single"]
        pickle.dumps(single.Part())
    finally:
        del sys.modules["single"]


def test_a_module_is_imported_once(tmp_path):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "single.py").write_text("COUNT = []\n")
    with own_code(root):
        import single

        single.COUNT.append(1)
    assert "single" not in sys.modules
    with own_code(root):
        import single as again
    assert again.COUNT == [1]


def test_it_may_be_entered_again_inside(tmp_path):
    root, other = write_scripts(tmp_path / "a", "a"), write_scripts(tmp_path / "b", "b")
    with own_code(root):
        import scripts.helper as outer

        with own_code(root):
            import scripts.helper as inner
        assert inner is outer
        with own_code(other):
            import scripts.helper as foreign
        assert foreign.ANSWER == "b"
        import scripts.helper as still

        assert still is outer


def test_code_is_put_away_after_an_error_too(tmp_path):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "scripts" / "broken.py").write_text("import scripts.helper\n1 / 0\n")
    with pytest.raises(ZeroDivisionError), own_code(root):
        importlib.import_module("scripts.broken")
    assert "scripts" not in sys.modules


def test_packages_of_an_environment_inside_the_bundle_stay_imported(tmp_path, monkeypatch):
    """As with a `.venv` in the folder that is predicted from: torch must not be forgotten after each step."""
    root = write_scripts(tmp_path / "bundle", "a")
    site = root / ".venv" / "lib"
    site.mkdir(parents=True)
    (site / "installed_there.py").touch()
    monkeypatch.syspath_prepend(str(site))
    with own_code(root):
        import installed_there
    assert sys.modules["installed_there"] is installed_there
    del sys.modules["installed_there"]


def test_medkit_itself_is_never_put_away(tmp_path, monkeypatch):
    import medkit.errors

    monkeypatch.syspath_prepend(str(tmp_path))  # so that the source tree is not first already
    before = dict(sys.modules)
    with own_code(Path(medkit.__file__).parents[1]):
        pass
    assert sys.modules["medkit.errors"] is medkit.errors
    assert sys.modules == before


# Parts


def test_parts_are_built_once_with_the_overrides_and_the_real_root(tiny):
    instance = inference(tiny, **{"inferer::overlap": 0.25, "device": "$torch.device('cpu')"})
    assert instance.build("bundle_root") == str(tiny)
    assert instance.build("checkpointloader::load_path") == f"{tiny}/models/model.pt"
    assert instance.build("inferer").overlap == 0.25
    assert instance.build("inferer") is instance.build("inferer")
    assert instance.build("_meta_::version") == "0.1.0"
    assert "inferer::roi_size" in instance
    assert "inferer::nothing" not in instance


def test_an_override_that_the_config_lacks_is_refused(tiny):
    with pytest.raises(
        UsageError, match=r"tiny_segmentation/configs/inference\.json.*did you mean 'overlap'"
    ):
        inference(tiny, **{"inferer::overlapp": 0.5})


def test_a_part_that_is_not_there_is_named(tiny):
    with pytest.raises(UsageError, match=r"inference\.json: the config has no 'nothing'"):
        inference(tiny).build("nothing")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("clip_outliers::lower", 200, ["'preprocessing' cannot be built: ValueError", "range [0, 100]"]),
     ("orient::_target_", "Orientatiod", ["'preprocessing' cannot be built", "Orientatiod"]),
     ("orient::axcodes", "$1 / 0", ["ZeroDivisionError: division by zero"]),
     ("spacing", "$medkit_data.find_cases([])", ["UsageError", "no"])],
)  # fmt: skip
def test_a_part_that_cannot_be_built_gives_key_and_cause_in_one_line(tiny, key, value, words):
    with pytest.raises(UsageError) as caught:
        inference(tiny, **{key: value}).build("preprocessing")
    message = str(caught.value)
    assert "\n" not in message
    if words[0] != "UsageError":
        assert str(tiny / "configs" / "inference.json") in message
        assert all(word in message for word in words), message


def test_medkits_own_reason_is_not_buried_under_its_cause(tiny, tmp_path):
    """The data list is read with a KeyError beneath; what to do stands in the UsageError above it."""
    (tmp_path / "dataset.json").write_text("{}")
    train = ConfigInstance(BundleFolder(tiny), "train", {"dataset_dir": str(tmp_path)})
    with pytest.raises(UsageError, match=r"dataset\.json: expected a JSON object with 'folds'"):
        train.build("train_folds")


def test_steps_run_in_order_and_a_missing_list_is_no_fault(tiny):
    told: list[int] = []
    edit_json(tiny / "configs" / "inference.json", lambda c: c.update(told="$[]", steps=[
        "$@told.append(1)", "$@told.append(2)"], alone="$@told.append(3)"))  # fmt: skip
    instance = inference(tiny)
    for key in ("steps", "alone", "nothing"):
        instance.run(key)
    told = instance.build("told")
    assert told == [1, 2, 3]


def steps(tiny, *expressions, **parts) -> ConfigInstance:
    edit_json(tiny / "configs" / "inference.json", lambda c: c.update(parts, steps=list(expressions)))
    return inference(tiny)


def test_a_crash_inside_of_a_step_is_no_mistake_in_the_config(tiny):
    (tiny / "scripts").mkdir()
    (tiny / "scripts" / "work.py").write_text("def crash(part):\n    return part[7]\n")
    instance = steps(tiny, "$crash(@part)", imports=["$from scripts.work import crash"], part=[1, 2])
    with pytest.raises(RuntimeError) as caught:
        instance.run("steps")
    cause = root_cause(caught.value)
    assert isinstance(cause, IndexError)
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "crash"


@pytest.mark.parametrize("own", ["errors.UsageError('do this')", "errors.CaseError('code', 'do this')"])
def test_medkits_own_error_inside_of_a_step_keeps_its_reason(tiny, own):
    stop = f"$(_ for _ in ()).throw({own})"
    with pytest.raises(MedkitError, match=r"^do this$") as caught:
        steps(tiny, stop, imports=["$from medkit import errors"]).run("steps")
    assert type(caught.value).__name__ in own


@pytest.mark.parametrize(
    ("step", "words"),
    [("$@broken.fit()", "'broken' cannot be built: ZeroDivisionError"),
     ("$@::7", "the config has no 'steps::7'"),
     ("$@nothing.fit()", "the config has no 'nothing'")],
)  # fmt: skip
def test_a_part_of_a_step_that_cannot_be_built_is_a_mistake_in_the_config(tiny, step, words):
    instance = steps(tiny, step, "$@told.append(1)", told="$[]", broken="$1 / 0")
    with pytest.raises(UsageError, match=words):
        instance.run("steps")
    assert instance.build("told") == []  # nothing after it has run


@pytest.mark.parametrize("content", ["{", "[1]", "3"])
def test_a_config_that_is_no_object_is_refused(tiny, content):
    (tiny / "configs" / "inference.json").write_text(content)
    with pytest.raises(UsageError, match=r"configs/inference\.json") as caught:
        read_config(BundleFolder(tiny), "inference")
    assert "\n" not in str(caught.value)


def test_yaml_configs_of_others_are_read(tiny):
    content = (tiny / "configs" / "inference.json").read_text()
    (tiny / "configs" / "inference.json").unlink()
    (tiny / "configs" / "inference.yaml").write_text(content)
    assert read_config(BundleFolder(tiny), "inference") == json.loads(content)
    assert inference(tiny).build("inferer").overlap == 0.5


# Weights


def test_the_network_has_its_weights_and_predicts(tiny):
    instance = inference(tiny, device="$torch.device('cpu')")
    network = instance.network_with_weights()
    assert instance.checkpoints == [tiny / "models" / "model.pt"]
    stored = torch.load(tiny / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, stored[name].float()) for name, value in network.state_dict().items())
    assert not network.training


def test_weights_may_be_loaded_by_a_handler_among_others(tiny):
    def move(config):
        config["handlers"] = [
            config.pop("checkpointloader"),
            {"_target_": "StatsHandler", "iteration_log": False},
        ]

    edit_json(tiny / "configs" / "inference.json", move)
    assert inference(tiny).network_with_weights() is not None


def test_weights_go_to_the_network_where_the_config_does_not_say(tiny, monkeypatch):
    from monai.handlers import CheckpointLoader

    places = []
    monkeypatch.setattr(CheckpointLoader, "__call__", lambda self, engine: places.append(self.map_location))
    edit_json(
        tiny / "configs" / "inference.json", lambda config: config["checkpointloader"].pop("map_location")
    )
    inference(tiny, device="$torch.device('cpu')").network_with_weights()
    assert places == [torch.device("cpu")]


def break_weights(root, change):
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    torch.save(change(weights), root / "models" / "model.pt")


@pytest.mark.parametrize(
    ("break_bundle", "words"),
    [(lambda root: (root / "models" / "model.pt").unlink(), ["the weights are missing", "model.pt"]),
     (lambda root: break_weights(root, lambda w: dict(list(w.items())[1:])),
      ["do not fit", "Missing key", "input_block"]),
     (lambda root: break_weights(root, lambda w: {n: v[:1] for n, v in w.items()}),
      ["do not fit", "size mismatch"]),
     (lambda root: (root / "models" / "model.pt").write_bytes(b"junk"), ["model.pt", "expected a checkpoint"]),
     (lambda root: edit_json(root / "configs" / "inference.json", lambda c: c.update(checkpointloader=None)),
      ["neither 'checkpointloader' nor 'handlers'"])],
)  # fmt: skip
def test_weights_that_do_not_serve_are_told_in_one_line(tiny, break_bundle, words):
    break_bundle(tiny)
    with pytest.raises(UsageError) as caught:
        inference(tiny).network_with_weights()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert len(message) < 700


def test_a_bundle_is_loaded_from_any_directory(tiny, tmp_path, monkeypatch):
    copied = Path(shutil.copytree(tiny, tmp_path / "far" / "away"))
    monkeypatch.chdir(tmp_path)
    assert inference(copied).network_with_weights() is not None


# Causes


def chained(make) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def wrap(inner: Exception, *, explicit: bool = True):
    def make():
        try:
            raise inner
        except Exception as error:
            if explicit:
                raise RuntimeError("outer") from error
            raise RuntimeError("outer")  # noqa: B904

    return make


@pytest.mark.parametrize("explicit", [True, False])
def test_the_innermost_error_is_the_cause(explicit):
    inner = ValueError("inner")
    assert root_cause(chained(wrap(inner, explicit=explicit))) is inner


@pytest.mark.parametrize("own", [UsageError("do this"), CaseError("code", "do that")])
def test_an_error_of_medkits_own_ends_the_search(own):
    own.__cause__ = KeyError("beneath")
    assert root_cause(chained(wrap(own))) is own


def test_a_hidden_context_is_no_cause():
    def make():
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert str(root_cause(chained(make))) == "shown"


@pytest.mark.parametrize(
    ("message", "line"),
    [("one", "one"), ("", "ValueError"), ("\n first \nsecond", "first"),
     ("Errors:\n\tmissing x\n\tmore", "Errors: missing x"), ("x" * 400, "x" * 297 + "...")],
)  # fmt: skip
def test_an_error_in_one_line(message, line):
    assert one_line(ValueError(message)) == line
