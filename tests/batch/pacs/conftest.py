"""An Orthanc, archives that ask it, and a batch beside it."""

from __future__ import annotations

import pytest

from medkit.dicom.network.dicomweb import DicomwebArchive
from medkit.dicom.network.dimse import DimseArchive
from tests.batch.making.conftest import study
from tests.batch.making.studies import shelf_of
from tests.batch.pacs.hospital import Batch
from tests.servers.fixtures import loopback, orthanc, orthanc_server, own_network
from tests.servers.orthanc import PASSWORD, USER, Orthanc

__all__ = ["loopback", "orthanc", "orthanc_server", "own_network", "study"]


@pytest.fixture(scope="session")
def shelf(tiny_root):
    """With larger patches than elsewhere, for a real image."""
    return shelf_of(tiny_root, overrides={"patch_size": [64, 64, 48]})


@pytest.fixture
def batch(tmp_path, shelf):
    batch = Batch(tmp_path / "batch", shelf)
    yield batch
    batch.check()
    batch.close()


@pytest.fixture(params=["dimse", "dicomweb"])
def connect(request, monkeypatch):
    """How an Orthanc is asked, over each protocol."""
    monkeypatch.setenv("PACS_USER", USER)
    monkeypatch.setenv("PACS_PASSWORD", PASSWORD)

    def over_dimse(orthanc: Orthanc):
        return DimseArchive(orthanc.host, orthanc.dicom_port, orthanc.ae_title)

    def over_dicomweb(orthanc: Orthanc):
        return DicomwebArchive(orthanc.dicomweb, user_variable="PACS_USER", password_variable="PACS_PASSWORD")

    return over_dimse if request.param == "dimse" else over_dicomweb
