"""What a run of the benchmark is: the bundle's own training with another network."""

from __future__ import annotations

import pytest
from machine import PACKAGES
from segmenters import plan
from segmenters_networks import DEFAULT, MEASURE, NETWORKS, TWINS
from segmenters_training import FORMS, code, config, key

import medkit
from medkit.bundle.store import find_bundle


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", ["umamba enc", TWINS["lightnet"], MEASURE])
def test_the_network_takes_the_place_of_the_bundles_own(form, label):
    parts = config(label, 5, FORMS[form])
    assert parts.build("seed") == 5
    assert parts.build("network_def").__class__ is not object
    assert sum(p.numel() for p in parts.build("network").parameters()) == pytest.approx(1.41e6, rel=0.06)


def test_the_full_form_is_the_bundles_own_training():
    own = config(MEASURE, 2026, FORMS["full"])
    for name in ("epochs", "samples_per_epoch", "batch_size", "patch_size", "learning_rate", "ema_decay"):
        shipped = type(own)(find_bundle("hippocampus_segmentation_unet"), "train", {})
        assert own.build(name) == shipped.build(name)


def test_the_middle_form_makes_the_most_of_few_steps():
    module = config("scan_unet", 1, FORMS["middle"]).build("module")
    made = module.configure_optimizers()
    assert type(made["optimizer"]).__name__ == "Muon"
    assert made["lr_scheduler"]["scheduler"].t_total == 200
    assert [len(group["params"]) > 0 for group in made["optimizer"].param_groups] == [True, True]


def test_a_key_tells_settings_apart():
    full, short = FORMS["full"], FORMS["short"]
    keys = [
        key("unet", 0, 1, full, "a"),
        key("dynunet", 0, 1, full, "a"),
        key("unet", 1, 1, full, "a"),
        key("unet", 0, 2, full, "a"),
        key("unet", 0, 1, short, "a"),
        key("unet", 0, 1, full, "b"),
    ]
    assert all(one != other for number, one in enumerate(keys) for other in keys[:number])
    assert key("unet", 0, 1, full, "a") == keys[0]


def test_a_key_tells_what_networks_are_made_of(tmp_path, monkeypatch):
    monkeypatch.setattr(medkit, "__file__", str(tmp_path / "__init__.py"))
    seen = [code()]
    for folder, content in (("networks", "a"), ("networks", "b"), ("ops", "a")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "it.py").write_text(content)
        seen.append(code())
    (tmp_path / "ops" / "it.pyc").write_text("c")
    assert all(one != other for number, one in enumerate(seen) for other in seen[:number])
    assert code() == seen[-1]
    assert key("unet", 0, 1, FORMS["full"], "")["code"] == seen[-1]
    assert set(code()) == {"sources", *PACKAGES}


def test_the_full_form_has_two_folds_and_seeds_for_all_and_more_for_three():
    runs = list(plan(FORMS["full"], list(NETWORKS)))
    assert len(runs) == len(set(runs))
    count = {label: sum(1 for run in runs if run[0] == label) for label in NETWORKS}
    more = {DEFAULT, TWINS[DEFAULT], MEASURE}
    assert count == {label: 15 if label in more else 4 for label in NETWORKS}
