"""Parts and steps: built once and run in order; a mistake in the config is told in one line."""

from __future__ import annotations

import json
import traceback

import pytest

from medkit.bundle.instance import ConfigInstance, read_config, root_cause
from medkit.bundle.store import BundleFolder
from medkit.errors import MedkitError, UsageError
from tests.bundle.instance.configs import inference
from tests.tiny_bundle import edit_json


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
