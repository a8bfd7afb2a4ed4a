"""A training that begins with the weights of another."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from torch import nn

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import find_bundle
from medkit.errors import UsageError
from medkit.training.initial_weights import initial_weights_sha256, load_initial_weights
from medkit.training.run import create_run, open_run

BUNDLE = "hippocampus_segmentation_unet"


def test_weights_are_put_in_place(tmp_path):
    one, other = nn.Conv3d(1, 2, 3), nn.Conv3d(1, 2, 3)
    torch.save({key: value.half() for key, value in one.state_dict().items()}, tmp_path / "model.pt")
    load_initial_weights(other, tmp_path / "model.pt")
    assert torch.equal(other.weight, one.weight.half().float())
    assert other.weight.dtype == torch.float32
    digest = hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    assert initial_weights_sha256(tmp_path / "model.pt") == digest


def test_without_any_the_network_stays_as_it_is():
    network = nn.Conv3d(1, 2, 3)
    before = network.weight.clone()
    load_initial_weights(network, None)
    assert torch.equal(network.weight, before)
    assert initial_weights_sha256(None) is None


@pytest.mark.parametrize(
    "content", [{"weight": torch.zeros(1)}, [1], b"none"], ids=["others", "list", "no file of torch"]
)
def test_weights_of_another_network(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(
        UsageError, match=r"initial_weights: expected weights of this network, got .*model\.pt"
    ):
        load_initial_weights(nn.Conv3d(1, 2, 3), path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(
        UsageError, match=r"initial_weights: expected a file of weights, got none at .*model\.pt"
    ):
        load_initial_weights(nn.Conv3d(1, 2, 3), tmp_path / "model.pt")
    with pytest.raises(
        UsageError, match=r"initial_weights: expected a file of weights, got none at .*model\.pt"
    ):
        initial_weights_sha256(tmp_path / "model.pt")


def test_a_training_begins_with_them_and_says_so(tmp_path, small, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    first = create_run(BUNDLE, tmp_path / "runs", overrides={**small, "epochs": 1}, name="first")
    first.train()
    weights = first.folder / "all" / "model.pt"
    # At this rate of learning nothing moves.
    still = {**small, "epochs": 1, "learning_rate": 1e-12, "initial_weights": str(weights)}
    second = create_run(BUNDLE, tmp_path / "runs", overrides=still, name="second")
    second.train()
    before, after = (torch.load(run.folder / "all" / "model.pt") for run in (first, second))
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=1e-4, atol=1e-5)
    record = json.loads((second.folder / "all" / "record.json").read_text())
    assert record["settings"]["initial_weights"] == initial_weights_sha256(weights)
    lost = {**small, "initial_weights": str(tmp_path / "lost.pt")}
    with pytest.raises(UsageError, match="got none at"):
        create_run(BUNDLE, tmp_path / "runs", overrides=lost, name="third")
    assert not (tmp_path / "runs" / BUNDLE / "third").exists()


def test_a_training_goes_on_from_anywhere_with_the_file_that_was_named(tmp_path, small, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    network = ConfigInstance(find_bundle(BUNDLE), "train", small).build("network")
    torch.save(network.state_dict(), "first.pt")
    run = create_run(
        BUNDLE, tmp_path / "runs", overrides={**small, "epochs": 1, "initial_weights": "first.pt"}
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    open_run(run.folder).train()
    record = json.loads((run.folder / "all" / "record.json").read_text())
    assert record["settings"]["initial_weights"] == initial_weights_sha256(tmp_path / "first.pt")
