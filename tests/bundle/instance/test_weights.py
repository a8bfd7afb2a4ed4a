"""The network has its weights, whichever way the config loads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from medkit.errors import UsageError
from tests.bundle.breaking import change_weights
from tests.bundle.instance.configs import inference
from tests.tiny_bundle import edit_json


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


@pytest.mark.parametrize(
    ("break_bundle", "words"),
    [(lambda root: (root / "models" / "model.pt").unlink(), ["the weights are missing", "model.pt"]),
     (lambda root: change_weights(root, lambda w: dict(list(w.items())[1:])),
      ["do not fit", "Missing key", "input_block"]),
     (lambda root: change_weights(root, lambda w: {n: v[:1] for n, v in w.items()}),
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
