"""``medkit bundle``: what it lists and checks, and that it says so where there is nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from medkit.bundle import store
from medkit.cli.bundle import command
from medkit.errors import UsageError
from tests.tiny_bundle import make_tiny_bundle


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_bundles_in_a_folder_are_listed(tmp_path):
    make_tiny_bundle(tmp_path)
    result = run("list", tmp_path)
    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.output.splitlines()] == [["tiny_segmentation", "0.1.0"]]


def test_folders_of_bundles_are_told(tmp_path):
    root = make_tiny_bundle(tmp_path)
    assert run("list", tmp_path, "--paths").output == f"tiny_segmentation  {root}\n"
    told = dict(line.split(maxsplit=1) for line in run("list", "--paths").output.splitlines())
    assert told == {one.name: str(one.root) for one in store.list_bundles() if one.commercial_use}


def test_the_card_of_a_bundle_is_shown(tmp_path):
    name = "hippocampus_segmentation_unet"
    card = run("card", name).output
    assert card == (store.find_bundle(name).root / "docs" / "README.md").read_text(encoding="utf-8")
    root = make_tiny_bundle(tmp_path)
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "README.md").write_bytes("Für Köpfe\n".encode("latin-1"))
    assert run("card", root).output == "F\ufffdr K\ufffdpfe\n"
    (root / "docs" / "README.md").unlink()
    error = run("card", root).exception
    assert isinstance(error, UsageError)
    assert (
        str(error)
        == f"{root / 'docs' / 'README.md'}: expected the bundle's card, got no file; ask who made the bundle"
    )


def test_bundles_that_wait_for_weights_say_whose():
    lines = {line.split()[0]: line for line in run("list").output.splitlines()}
    for bundle in store.list_bundles():
        if not bundle.commercial_use:
            continue
        lacking = bundle.lacks_weights_of
        assert ("(no weights yet" in lines[bundle.name]) == (lacking is not None)
        assert (f"of {lacking}, which it runs" in lines[bundle.name]) == (lacking not in (None, bundle.name))


def test_a_bundle_whose_config_is_broken_is_listed(tmp_path):
    root = make_tiny_bundle(tmp_path)
    (root / "configs" / "inference.json").unlink()
    (root / "configs" / "inference.yaml").write_text("a: [1", encoding="utf-8")
    result = run("list", tmp_path)
    assert (result.exit_code, result.output.split()[:2]) == (0, ["tiny_segmentation", "0.1.0"])


@pytest.mark.parametrize("place", ["nowhere", "file", "empty", "bundle"])
def test_a_folder_without_bundles_is_refused(tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text("{}")
    error = run("list", tmp_path / place).exception
    assert isinstance(error, UsageError)
    assert str(error).startswith(f"{tmp_path / place}: expected a folder that holds bundles")
    assert ("got none" if place in ("empty", "bundle") else "got no such folder") in str(error)


@pytest.mark.parametrize("what", ["list", "check"])
def test_medkit_without_bundles_of_its_own_says_so(tmp_path, monkeypatch, what):
    monkeypatch.setattr(store, "bundles_root", lambda: tmp_path)
    error = run(what).exception
    assert isinstance(error, UsageError)
    assert f"{tmp_path}: expected a folder that holds bundles" in str(error)
    assert "medkit bundle build" in str(error)


def test_a_bundle_without_a_training_of_its_own_is_checked(tmp_path):
    root = make_tiny_bundle(tmp_path)
    (root / "configs" / "train.json").unlink()
    result = run("check", root)
    assert result.exception is None, result.exception
    assert f"ok  {root.name}  train config: none" in result.output


def test_a_broken_bundle_is_told_line_by_line(tmp_path):
    root = make_tiny_bundle(tmp_path)
    (root / "LICENSE").unlink()
    result = run("check", root)
    assert result.exit_code == 2
    bad = [line for line in result.output.splitlines() if line.startswith("BAD ")]
    assert bad
    assert all("tiny_segmentation" in line for line in bad)
    assert any("LICENSE" in line for line in bad)
