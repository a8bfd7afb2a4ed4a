"""Nothing of a bundle's own code outlives a test."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def no_scripts_left_behind():
    path, modules = list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}
    yield
    assert sys.path == path
    assert {name for name in sys.modules if name.split(".")[0] == "scripts"} == modules
