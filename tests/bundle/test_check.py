"""Checking a bundle: a healthy one passes, and nothing that is broken stops the checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from medkit.bundle.check import Finding, check_bundle
from medkit.bundle.store import BundleFolder, bundles_root, list_bundles
from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, drop, put
from tests.bundle.checks.problems import check, expect, problems
from tests.random_numbers import draw, seed


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
    seed(5)
    expected = draw()
    seed(5)
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
