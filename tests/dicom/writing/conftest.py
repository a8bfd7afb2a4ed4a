"""Sources to write about, and the validator."""

from __future__ import annotations

import pytest

from medkit.dicom.writing.source import open_source
from tests.dicom.writing import oracles
from tests.dicom.writing.sources import geometry, source_with, write_series


@pytest.fixture(scope="module")
def oblique(tmp_path_factory):
    """A source whose slices are oblique, in files whose order says nothing."""
    array, affine = geometry("SAL", oblique=True)
    return open_source(write_series(tmp_path_factory.mktemp("oblique"), array, affine, order=False))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """One of a few slices, in files whose order says nothing."""
    return source_with(tmp_path_factory.mktemp("source"))


@pytest.fixture
def errors(tool):
    """What dciodvfy calls errors in a file."""
    tool("dciodvfy")
    return oracles.errors
