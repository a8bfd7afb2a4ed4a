"""The trainings before one are found by the weights that it began with, as long as these are there."""

from __future__ import annotations

import json

import pytest
import torch

from medkit.bundle.build import sources_root
from medkit.bundle.store import list_bundles
from medkit.data.hashing import hash_files
from medkit.errors import UsageError
from medkit.training.earlier import check_nothing_held_out_was_seen, earlier_trainings
from medkit.training.run import create_run

BUNDLE = "hippocampus_segmentation_unet"


@pytest.fixture
def trained(tmp_path, small):
    """Make a run as if it had been trained; gives it, its record, and its weights."""

    def make(name, weights=None, train_cases=("a", "b"), test_cases=("c",)):
        overrides = {**small, **({"initial_weights": str(weights)} if weights else {})}
        run = create_run(BUNDLE, tmp_path / "runs", overrides=overrides, name=name, held_out=[0])
        (run.folder / "fold0").mkdir()
        torch.save({"weight": torch.tensor([float(len(name))])}, run.folder / "fold0" / "model.pt")
        record = {
            "settings": {"initial_weights": hash_files([weights]) if weights else None},
            "steps": 10,
            "seconds": 2.5,
            "device": "a CPU",
            "versions": {},
            "train_cases": list(train_cases),
            "test_cases": list(test_cases),
        }
        (run.folder / "fold0" / "record.json").write_text(json.dumps(record))
        return run, record, run.folder / "fold0" / "model.pt"

    return make


def test_the_first_training_of_all_has_none_before(trained):
    run, record, _ = trained("one")
    assert earlier_trainings(run, record) == []
    check_nothing_held_out_was_seen(run, record)


def test_all_are_found_from_the_first_on(trained):
    _, _, weights = trained("one")
    _, _, weights = trained("second", weights)
    run, record, _ = trained("third one", weights)
    found = earlier_trainings(run, record)
    assert [one["run"] for one in found] == ["one", "second"]
    assert found[0] == {
        "run": "one",
        "settings": {"initial_weights": None},
        "steps": 10,
        "seconds": 2.5,
        "device": "a CPU",
        "train_cases": ["a", "b"],
    }


@pytest.mark.parametrize("what", ["changed", "gone", "no record", "no run"])
def test_what_has_moved_or_changed_is_not_known(trained, what):
    before, _, weights = trained("one")
    run, record, _ = trained("third one", weights)
    if what == "changed":
        torch.save({"weight": torch.tensor([7.0])}, weights)
    elif what == "gone":
        weights.unlink()
    elif what == "no record":
        (weights.parent / "record.json").unlink()
    else:
        (before.folder / "run.json").unlink()
    assert earlier_trainings(run, record) == []


def test_a_case_that_was_learned_from_before_is_not_held_out(trained):
    _, _, weights = trained("one", train_cases=["a", "c"])
    _, _, weights = trained("second", weights)
    run, record, _ = trained("third one", weights, test_cases=["b1", "c"])
    with pytest.raises(UsageError, match=r"of run one, which learned from c; begin with others"):
        check_nothing_held_out_was_seen(run, record)


def in_a_bundle(weights, metadata, root, name="model.pt"):
    """A bundle that has these weights, and says so much of them."""
    for folder in ("models", "configs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "models" / name).write_bytes(weights.read_bytes())
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return root / "models" / name


def test_a_bundle_tells_of_its_own_weights_alone(trained, tmp_path):
    _, _, weights = trained("one")
    training = {
        "run": "long ago",
        "steps": 7,
        "train_cases": ["c"],
        "earlier": [{"run": "before", "train_cases": ["d"]}],
    }
    own = in_a_bundle(weights, {"training": training}, tmp_path / "mine")
    run, record, _ = trained("second", own, test_cases=["d"])
    found = [{"run": "before", "train_cases": ["d"]}, {"run": "long ago", "steps": 7, "train_cases": ["c"]}]
    assert earlier_trainings(run, record) == found
    with pytest.raises(UsageError, match="of run before, which learned from d"):
        check_nothing_held_out_was_seen(run, record)
    other = in_a_bundle(weights, {"training": training}, tmp_path / "mine", "other.pt")
    assert earlier_trainings(*trained("third", other)[:2]) == []
    assert earlier_trainings(run, {**record, "earlier": found[:1]}) == found[:1]


@pytest.mark.parametrize("training", [None, [], {}, {"run": "r"}, {"train_cases": None}, "train_cases"])
def test_a_bundle_that_does_not_say_what_it_learned_from_is_none_that_is_known(trained, tmp_path, training):
    _, _, weights = trained("one")
    own = in_a_bundle(weights, {"training": training}, tmp_path / "theirs")
    assert earlier_trainings(*trained("second", own)[:2]) == []


@pytest.mark.parametrize(
    "bundle",
    [one for one in list_bundles() if (sources_root() / one.name / "record.json").is_file()],
    ids=lambda one: one.name,
)
def test_what_a_published_network_learned_from_cannot_be_held_out(trained, bundle):
    training = bundle.metadata["training"]
    assert len(training["train_cases"]) == training["cases"] > 0
    run, record, _ = trained("own", bundle.weights, test_cases=training["train_cases"][-1:])
    with pytest.raises(UsageError, match=f"which learned from {training['train_cases'][-1]}"):
        check_nothing_held_out_was_seen(run, record)
