"""The weights and their export: safe, finite, small enough, and made for this network."""

from __future__ import annotations

import pytest
import torch

from medkit.bundle.check import Finding
from medkit.bundle.checks.weights import SIZE_LIMIT
from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, WEIGHTS, change_weights, put
from tests.bundle.checks.problems import check, expect, problems
from tests.tiny_bundle import edit_json, save_weights


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
