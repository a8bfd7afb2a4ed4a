from __future__ import annotations

import asyncio

from medkit.batch.cluster import fitness
from medkit.batch.cluster.fitness import (
    bundle_traits,
    describe,
    key_traits,
    seal,
    traits,
    unlike,
    wanted_here,
)
from medkit.bundle.store import find_bundle
from medkit.dicom.confidentiality import KEY_VARIABLE
from tests.tiny_bundle import NAME, edit_json, make_tiny_bundle


def test_this_machine_is_like_itself(tmp_path, bundle_root):
    name = "0123"
    seal(tmp_path, name)
    question = (name, (str(tmp_path),), {NAME: str(bundle_root)})
    answer = asyncio.run(describe(question))
    assert unlike(wanted_here(question), answer) == ""
    assert find_bundle(bundle_root).digest().startswith(answer[f"bundle {NAME}"])


def test_a_gpu_that_failed_is_told_in_one_sentence(monkeypatch):
    question = ("0123", (), {})
    monkeypatch.setattr(fitness, "device_fault", lambda: "RuntimeError")
    answer = asyncio.run(describe(question))
    assert unlike(wanted_here(question), answer) == "expected a GPU that answers, got RuntimeError"


def test_each_difference_is_told(tmp_path):
    wanted = {"medkit": "0.1.0", "torch": "2.10.0", "bundle brain": "abc"}
    assert unlike(wanted, wanted) == ""
    assert unlike(wanted, wanted | {"something": "else"}) == ""
    assert unlike(wanted, wanted | {"torch": "2.9.1"}) == "expected torch 2.10.0, got 2.9.1"
    assert unlike(wanted, {"medkit": "0.1.0"}) == (
        "expected torch 2.10.0, got none; expected bundle brain abc, got none"
    )


def test_another_build_of_a_version_is_the_same_and_a_package_that_is_gone_is_not(monkeypatch):
    here = traits()
    monkeypatch.setattr(fitness, "version", lambda name: f"{here[name]}+cu128")
    assert traits() == here

    def gone(name):
        raise fitness.PackageNotFoundError(name)

    monkeypatch.setattr(fitness, "version", gone)
    assert unlike(here, traits()).count("got none") >= 10


def test_results_about_nobody_are_made_where_the_key_is_the_services(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    question = ("0123", (), {})
    here = key_traits()
    assert unlike(here, asyncio.run(describe(question))) == ""
    monkeypatch.setenv(KEY_VARIABLE, "another key, 16+")
    wrong = unlike(here, asyncio.run(describe(question)))
    assert wrong.startswith(f"expected a key in {KEY_VARIABLE} of fingerprint ")
    assert "sixteen" not in wrong
    assert unlike(wanted_here(question), asyncio.run(describe(question))) == "", "which nobody asked for"
    monkeypatch.delenv(KEY_VARIABLE)
    assert unlike(here, asyncio.run(describe(question))).endswith("got none")


def test_a_changed_file_of_medkit_is_another_medkit_whatever_its_version(monkeypatch, tmp_path):
    before = traits()["medkit's files"]
    (tmp_path / "code.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(fitness, "_PACKAGE", tmp_path)
    fitness._sources.cache_clear()
    try:
        assert traits()["medkit's files"] != before
    finally:
        fitness._sources.cache_clear()


def test_a_bundle_that_is_not_there_is_told_as_such(tmp_path):
    (found,) = bundle_traits({"brain": str(tmp_path / "nowhere")}).values()
    assert "nowhere" in found


def test_a_bundle_whose_config_is_broken_or_that_names_itself_is_told_as_such(tmp_path):
    root = make_tiny_bundle(tmp_path)
    config = root / "configs" / "inference.json"
    edit_json(config, lambda content: content.update(own={"_target_": "medkit.load", "bundle": str(root)}))
    (found,) = bundle_traits({"brain": str(root)}).values()
    assert set(found) <= set("0123456789abcdef")
    config.rename(config.with_suffix(".yaml")).write_text("a: [1", encoding="utf-8")
    (found,) = bundle_traits({"brain": str(root)}).values()
    assert "inference.yaml: cannot be read" in found


def test_another_folder_is_not_taken_for_the_one_with_the_seal(tmp_path):
    question = ("0123", (str(tmp_path / "empty"),), {})
    (tmp_path / "empty").mkdir()
    answer = asyncio.run(describe(question))
    assert "got No such file or directory" in unlike(wanted_here(question), answer)
    assert list((tmp_path / "empty").iterdir()) == []
