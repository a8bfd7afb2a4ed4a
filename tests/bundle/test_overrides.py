"""Overrides: what MONAI ignores when it is mistyped is refused here, with the name that was meant."""

from __future__ import annotations

import copy

import pytest

from medkit.bundle.overrides import apply_overrides, parse_overrides
from medkit.errors import UsageError

CONFIG = {
    "dataset_dir": "images",
    "seed": 0,
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]},
    "train": {"trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": 3}},
    "callbacks": ["@checkpoint", {"_target_": "Thing", "size": 1}],
    "size": {"_target_": "torch.Size"},
    "own": {"_target_": "$@seed"},
    "strange": {"_target_": "no.such.Thing", "known": 1},
}


def applied(key, value):
    config = copy.deepcopy(CONFIG)
    apply_overrides(config, {key: value}, "tiny/configs/inference.json")
    return config


def refusal(key, value=1):
    config = copy.deepcopy(CONFIG)
    with pytest.raises(UsageError) as caught:
        apply_overrides(config, {key: value}, "tiny/configs/inference.json")
    assert config == CONFIG
    message = str(caught.value)
    assert message.startswith(f"--set {key}: ")
    assert "tiny/configs/inference.json" in message
    return message


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [("inferer::overlap=0.5", "inferer::overlap", 0.5), ("rate=1e-4", "rate", 1e-4),
     ("switch=on", "switch", "on"), ("flag=true", "flag", True), ("fold=null", "fold", None),
     ("size=[1, 2]", "size", [1, 2]),
     ("folder=/data/a=b", "folder", "/data/a=b"), ("name=trial", "name", "trial"), ("empty=", "empty", ""),
     ("net=@other", "net", "@other"), ("sum=$1 + 1", "sum", "$1 + 1"),
     ("macro=%file::key", "macro", "%file::key")],
)  # fmt: skip
def test_words_become_values(word, key, value):
    parsed = parse_overrides([word])
    assert parsed == {key: value}
    assert type(parsed[key]) is type(value)


def test_the_last_word_for_a_key_counts():
    assert parse_overrides(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("word", "said"),
    [("overlap", "expected key=value"), ("=3", "expected key=value"), ("a=[1", "cannot be read"),
     ("a={b: 1, b: 2}", "cannot be read")],
)  # fmt: skip
def test_words_that_do_not_parse_are_refused_in_one_line(word, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse_overrides([word])
    assert "\n" not in str(caught.value)
    assert f"--set {word}" in str(caught.value)


def test_a_key_that_is_there_is_set():
    assert applied("seed", 7)["seed"] == 7
    assert applied("train::trainer::max_epochs", 9)["train"]["trainer"]["max_epochs"] == 9
    assert applied("inferer", "@other")["inferer"] == "@other"
    assert applied("strange::known", 2)["strange"]["known"] == 2


def test_a_parameter_that_the_component_takes_is_added():
    assert applied("inferer::overlap", 0.25)["inferer"]["overlap"] == 0.25
    assert applied("train::trainer::deterministic", True)["train"]["trainer"]["deterministic"] is True


@pytest.mark.parametrize(
    ("key", "words"),
    [("datset_dir", ["the config has no 'datset_dir'", "did you mean 'dataset_dir'?"]),
     ("inferer::overlp", ["'inferer' has no 'overlp'", "did you mean 'overlap'?"]),
     ("train::trianer::max_epochs", ["'train' has no 'trianer'", "did you mean 'trainer'?"]),
     ("train::trainer::max_epoch", ["'train::trainer'", "did you mean 'max_epochs'?"]),
     ("qqq", ["it has: dataset_dir, seed"]),
     ("seed::deeper", ["'seed' has no 'deeper'", "it has: no keys"]),
     ("seed::deeper::still", ["'seed' has no 'deeper'"]),
     ("inferer::kwargs", ["'inferer' has no 'kwargs'"]),
     ("size::anything", ["'size' has no 'anything'"]),
     ("own::anything", ["'own' has no 'anything'"]),
     ("strange::unknown", ["'strange' has no 'unknown'", "did you mean 'known'?"]),
     ("callbacks::0", ["'callbacks' is a list", "override a key that the list refers to"]),
     ("callbacks::1::size", ["'callbacks' is a list", "override a key that the list refers to"])],
)  # fmt: skip
def test_a_key_that_would_be_ignored_is_refused(key, words):
    message = refusal(key)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("seed", "nine", "expected a number (now 0"), ("inferer::roi_size", 8, "expected a list (now [8, 8, 8]"),
     ("train::trainer", 3, "expected a mapping"), ("seed", True, "expected a number")],
)  # fmt: skip
def test_value_of_another_kind_is_refused(key, value, words):
    message = refusal(key, value)
    assert words in message
    assert f"got {value!r}" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 1.5), ("seed", "$1 + 1"), ("seed", None), ("dataset_dir", 7), ("train", False)],
)
def test_value_of_the_same_kind_or_of_the_config_language_passes(key, value):
    assert applied(key, value)[key] == value


def test_tuples_are_lists():
    assert applied("inferer::roi_size", (8, 16, 8))["inferer"]["roi_size"] == (8, 16, 8)
