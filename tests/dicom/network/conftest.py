"""Servers, and studies to send."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.dicom.network.certificates import Certificates, make_certificates
from tests.dicom.network.takers import Taken
from tests.dicom_series.stacks import Stack, save
from tests.servers.fixtures import loopback, orthanc, orthanc_server, own_network

__all__ = ["loopback", "orthanc", "orthanc_server", "own_network"]


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def busy(taken):
    """A taker that does not end before it may."""

    def take(*arguments) -> int:
        take.began.set()
        assert take.may_end.wait(20)
        return taken(*arguments)

    take.began, take.may_end = threading.Event(), threading.Event()
    yield take
    take.may_end.set()


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    """Nine slices of one study, in files."""
    return write_study(tmp_path / "study")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority, of a server on this machine, of a client, and of nobody whom the authority knows."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def write_study(folder: Path, seed: int = 7, modality: str = "CT") -> list[Path]:
    stack = Stack(np.random.default_rng(seed), modality=modality)
    folder.mkdir()
    paths = [folder / f"{number:03}.dcm" for number in range(len(stack.datasets))]
    for path, dataset in zip(paths, stack.datasets, strict=True):
        save(path, dataset)
    return paths
