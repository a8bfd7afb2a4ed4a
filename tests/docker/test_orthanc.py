"""Orthanc runs with the configuration of its image, and lets medkit in and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import requests
from pydicom import dcmread

from medkit.dicom.network.archive import ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.network.dimse import DimseArchive
from tests.dicom_series.stacks import Stack, write
from tests.docker.orthanc import USER, ask, image_of_orthanc


@pytest.fixture
def configuration(loopback, tmp_path) -> Iterator[dict]:
    with image_of_orthanc(tmp_path) as found:
        yield found


def archive(configuration: dict, title: str) -> DimseArchive:
    return DimseArchive(
        "127.0.0.1", configuration["DicomPort"], configuration["DicomAet"], own_ae_title=title
    )


def test_medkit_sends_and_reads_back(configuration, tmp_path):
    stack = Stack(np.random.default_rng(3))
    paths = write(tmp_path / "series", stack.datasets, stack.rng)
    known = archive(configuration, configuration["DicomModalities"]["medkit"]["AET"])
    known.echo()
    assert set(known.send(paths).values()) == {None}
    dataset = dcmread(paths[0])
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    assert content_hash(known.read_back(*uids)) == content_hash(paths[0])
    told = ask(configuration, "/dicom-web/studies")
    assert [study["0020000D"]["Value"] for study in told] == [[dataset.StudyInstanceUID]]


def test_strangers_get_nothing(configuration, tmp_path):
    stranger = archive(configuration, "STRANGER")
    with pytest.raises(ArchiveRefused):
        stranger.echo()
    with pytest.raises(ArchiveRefused):
        stranger.find({"StudyDate": "20200101-"})
    for given in (None, (USER, "another"), ("${ORTHANC_USER}", "${ORTHANC_PASSWORD}")):
        address = f"http://127.0.0.1:{configuration['HttpPort']}/studies"
        assert requests.get(address, auth=given, timeout=30).status_code == 401
