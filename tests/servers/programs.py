"""Foreign programs: found, or the test is skipped, or fails where they are required."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# pynetdicom installs programs of the same names as DCMTK's beside Python.
DCMTK = "/usr/bin"


def program(name: str, path: str | None = None) -> str:
    """The path of a program."""
    return shutil.which(name, path=path) or missing(f"{name} is not installed")


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where tools are required."""
    if os.environ.get("MEDKIT_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason}, and MEDKIT_REQUIRE_TOOLS=1 asks for it")
    pytest.skip(reason)
