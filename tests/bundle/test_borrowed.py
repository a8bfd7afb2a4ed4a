"""A bundle that runs the network of another: the same weights, its intervals side by side, no training of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medkit.bundle import build
from medkit.bundle.borrowed import borrow_weights, intervals_by_side
from medkit.errors import UsageError
from medkit.training.run import create_run

LENDER, NAME = "hippocampus_segmentation_unet", "hippocampi_of_heads"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Sources with one more bundle, which runs the network of another."""
    sources = Path(shutil.copytree(build.sources_root(), tmp_path / "configs"))
    own = Path(shutil.copytree(sources / LENDER, sources / NAME))
    for name in ("record.json", "train.yaml"):
        (own / name).unlink()
    metadata = f"\nweights_of: {LENDER}\nsides: [left, right]\nscored_by: benchmarks/heads.py\n"
    (own / "metadata.yaml").write_text((own / "metadata.yaml").read_text() + metadata)
    (tmp_path / "bundles" / LENDER / "models").mkdir(parents=True)
    shutil.copy(
        build.bundles_root() / LENDER / "models" / "model.pt", tmp_path / "bundles" / LENDER / "models"
    )
    monkeypatch.setattr(build, "bundles_root", lambda: tmp_path / "bundles")
    return tmp_path


def test_it_is_built_with_the_weights_and_intervals_of_the_other(project):
    changed = build.write_bundle(project / "configs" / NAME)
    root, lender = project / "bundles" / NAME, project / "bundles" / LENDER
    assert root / "models" / "model.pt" in changed
    assert (root / "models" / "model.pt").read_bytes() == (lender / "models" / "model.pt").read_bytes()
    assert build.write_bundle(project / "configs" / NAME) == []
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert "whole hippocampus" in str(metadata["volume_intervals"]["sums"])
    assert not (root / "configs" / "train.json").exists()
    card = (root / "docs" / "README.md").read_text()
    assert f"Its network is that of `{LENDER}`" in card
    assert "| right whole hippocampus |" in card
    assert "`benchmarks/heads.py` does that" in card


def test_it_follows_the_other_s_weights(project):
    build.write_bundle(project / "configs" / NAME)
    lender = project / "bundles" / LENDER / "models" / "model.pt"
    lender.write_bytes(b"new")
    own = project / "bundles" / NAME / "models" / "model.pt"
    assert build.write_bundle(project / "configs" / NAME) == [own]
    assert own.read_bytes() == b"new"


def test_it_is_not_trained(project):
    build.write_bundle(project / "configs" / NAME)
    with pytest.raises(
        UsageError, match=f"{NAME} runs the network of {LENDER} and has no training of its own"
    ):
        create_run(project / "bundles" / NAME, project / "runs", overrides={})
    assert not (project / "runs").exists()


def test_intervals_are_those_of_the_other_for_each_side():
    record = json.loads((build.sources_root() / LENDER / "record.json").read_text())
    theirs = record["volume_intervals"]
    found = intervals_by_side(theirs, ["left", "right"])
    assert found["sums"] == {
        "left whole hippocampus": ["left anterior hippocampus", "left posterior hippocampus"],
        "right whole hippocampus": ["right anterior hippocampus", "right posterior hippocampus"],
    }
    assert len(found["structures"]) == 6
    for name, row in found["structures"].items():
        assert row == theirs["structures"][name.partition(" ")[2]]
    assert found["level"] == theirs["level"]


def test_there_are_none_where_the_other_has_no_record(project):
    (project / "configs" / LENDER / "record.json").unlink()
    metadata = json.loads(build.bundle_text(project / "configs" / NAME)["configs/metadata.json"])
    assert "volume_intervals" not in metadata


def test_a_damaged_record_of_the_other_is_told(project):
    (project / "configs" / LENDER / "record.json").write_text("{")
    with pytest.raises(UsageError, match=r"record\.json: not valid JSON"):
        build.bundle_text(project / "configs" / NAME)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"expected the weights that .*own\.pt is a copy of, got no file"):
        borrow_weights(tmp_path / "own.pt", tmp_path / "lender.pt")
    assert not list(tmp_path.iterdir())
