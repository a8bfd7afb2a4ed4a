"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.programs import program
from tests.tiny_bundle import edit_json, make_tiny_bundle

# The first example of a property imports and compiles: a deadline would only measure that.
settings.register_profile(
    "medkit", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("medkit")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; without it the test is skipped, or fails where it is required."""
    folder = os.environ.get("MEDKIT_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"MEDKIT_DATA is {folder!r}, not a folder with the real data"
    if os.environ.get("MEDKIT_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason}, and MEDKIT_REQUIRE_DATA=1 asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny bundle, with tiny windows; tests change copies of it alone."""
    root = make_tiny_bundle(tmp_path_factory.mktemp("tiny"))
    edit_json(root / "configs" / "inference.json", lambda config: config.update(patch_size=[16, 16, 16]))
    return root


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program; without it the test is skipped, or fails where it is required."""

    return program
