"""A tiny bundle for each test to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def whole_bundle(tmp_path_factory) -> Path:
    """A healthy tiny bundle; look, do not touch."""
    return make_tiny_bundle(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tiny(whole_bundle, tmp_path) -> Path:
    """A copy of its own for the test to break."""
    return Path(shutil.copytree(whole_bundle, tmp_path / "bundle" / whole_bundle.name))
