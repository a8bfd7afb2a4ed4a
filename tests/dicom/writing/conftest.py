"""Sources to write about, and the validator."""

from __future__ import annotations

import os
import shutil

import pytest

from medkit.dicom.writing.source import open_source
from tests.dicom.writing.sources import geometry, write_series


@pytest.fixture(scope="module")
def oblique(tmp_path_factory):
    """A source whose slices are oblique, in files whose order says nothing."""
    array, affine = geometry("SAL", oblique=True)
    return open_source(write_series(tmp_path_factory.mktemp("oblique"), array, affine, order=False))


@pytest.fixture(scope="session")
def _validator():
    if shutil.which("dciodvfy"):
        return
    reason = "dciodvfy is not installed (Debian's dicom3tools has it)"
    if os.environ.get("MEDKIT_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason}, and MEDKIT_REQUIRE_DATA=1 asks for it")
    pytest.skip(reason)


@pytest.fixture
def errors(_validator):
    """What dciodvfy calls errors in a file."""
    from tests.dicom.writing import oracles

    return oracles.errors
