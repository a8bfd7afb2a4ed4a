"""A bundle that is medkit's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from medkit.bundle import store
from tests.tiny_bundle import few_filters


@pytest.fixture
def own(tiny, tmp_path, monkeypatch):
    """A source tree whose bundle is what its configs give, but for the size of the network."""
    from medkit.bundle.build import write_bundle

    name, repository = "hippocampus_segmentation_unet", Path(__file__).parents[3]
    tree = tmp_path / "tree"
    shutil.copytree(repository / "configs", tree / "configs")
    (tree / "pyproject.toml").touch()
    network, yaml = tree / "configs" / name / "network.yaml", YAML(typ="safe")
    content = yaml.load(network.read_text())
    few_filters(content["network_def"])
    yaml.dump(content, network)
    monkeypatch.setattr(store, "_PACKAGE", tree / "medkit")
    write_bundle(tree / "configs" / name)
    shutil.copytree(tiny / "models", tree / "bundles" / name / "models")
    return tree / "bundles" / name
