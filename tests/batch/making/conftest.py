from __future__ import annotations

import pytest

from tests.batch.making.studies import open_desk, shelf_of, write_study


@pytest.fixture(scope="session")
def shelf(tiny_root):
    return shelf_of(tiny_root)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The files of a study with one series."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def files(tmp_path):
    """A study of one series, to be spoilt."""
    return write_study(tmp_path / "files", SeriesDescription="first")


@pytest.fixture
def desk(tmp_path, shelf):
    desk = open_desk(tmp_path / "desk", shelf)
    yield desk
    assert desk.ledger.faults() == []
    desk.ledger.close()
