"""Files: those that a bundle needs are there, and medkit's own text is what its sources give."""

from __future__ import annotations

import shutil

import pytest

from medkit.bundle import store
from medkit.bundle.check import Finding
from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, WEIGHTS
from tests.bundle.checks.problems import check, expect, problems


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS, "docs/README.md"])
def test_a_required_file_is_missing(tiny, name):
    (tiny / name).unlink()
    expect(tiny, "files", name, "missing", only=name.startswith("docs"))


@pytest.mark.parametrize("name", [METADATA, WEIGHTS, "docs/README.md"])
def test_a_required_file_is_empty(tiny, name):
    (tiny / name).write_bytes(b"")
    expect(tiny, "files", name, "empty", only=name.startswith("docs"))


def test_weights_that_wait_to_be_downloaded(tiny):
    (tiny / WEIGHTS).unlink()
    (tiny / "large_files.yml").write_text("large_files: []\n")
    expect(tiny, "files", WEIGHTS, "download_large_files", only=False)


@pytest.mark.parametrize("content", [None, " \n"])
def test_no_licence(tiny, content):
    (tiny / "LICENSE").unlink()
    if content:
        (tiny / "LICENSE").write_text(content)
    expect(tiny, "licence", "LICENSE", "missing or empty")


def test_own_text_as_it_is_built(own):
    assert problems(own) == {}
    assert Finding("text as built") in check(own)


@pytest.mark.parametrize(
    "name", [INFERENCE, TRAIN, METADATA, "configs/logging.conf", "docs/README.md", "LICENSE"]
)
def test_own_text_that_was_edited(own, name):
    with (own / name).open("a") as file:
        file.write("\n")
    expect(own, "text as built", name, "medkit bundle build")


def test_own_text_with_other_line_ends(own):
    (own / INFERENCE).write_bytes((own / INFERENCE).read_bytes().replace(b"\n", b"\r\n"))
    expect(own, "text as built", INFERENCE)


def test_own_bundle_with_a_stray_config(own):
    (own / "configs" / "extra.json").write_text("{}")
    expect(own, "text as built", "configs/extra.json", "delete it")


def test_own_bundle_without_source(own):
    shutil.rmtree(own.parents[1] / "configs" / own.name)
    expect(own, "text as built", f"configs/{own.name}/metadata.yaml", "no such source")


def test_own_bundle_in_a_wheel_has_no_sources(own, tmp_path, monkeypatch):
    wheel = tmp_path / "site-packages"
    shutil.copytree(own, wheel / "medkit" / "_bundles" / own.name)
    monkeypatch.setattr(store, "_PACKAGE", wheel / "medkit")
    assert Finding("text as built: no sources here to compare with") in check(
        wheel / "medkit/_bundles" / own.name
    )
