"""Fixtures for tests that talk to real servers; a conftest.py imports those that its tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.loopback import Loopback
from tests.servers.orthanc import Orthanc, orthanc_in

__all__ = ["loopback", "orthanc", "orthanc_server", "own_network"]


@pytest.fixture(scope="session")
def own_network() -> Iterator[Loopback]:
    """A network namespace that all tests of this process share."""
    network = Loopback()
    yield network
    network.close()


@pytest.fixture
def loopback(own_network: Loopback) -> Iterator[None]:
    """The test is where only loopback exists."""
    with own_network.entered():
        yield


@pytest.fixture(scope="session")
def orthanc_server(own_network: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that is started once."""
    with own_network.entered():
        server = orthanc_in(tmp_path_factory.mktemp("orthanc"))
        running = server.__enter__()
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture
def orthanc(loopback: None, orthanc_server: Orthanc) -> Orthanc:
    """An Orthanc without studies; the test is in its network."""
    orthanc_server.clear()
    return orthanc_server
