"""The two ways in which an archive fails are told apart, also from one process to another."""

from __future__ import annotations

import pickle

import pytest

from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused, StudyMatch
from medkit.errors import MedkitError


def test_a_refusal_keeps_its_code_and_message():
    refused = pickle.loads(pickle.dumps(ArchiveRefused("retrieve-incomplete", "PACS: 3 of 5")))
    assert (type(refused), refused.code, str(refused)) == (
        ArchiveRefused,
        "retrieve-incomplete",
        "PACS: 3 of 5",
    )


def test_neither_failure_is_the_other():
    assert issubclass(ArchiveDown, MedkitError)
    assert issubclass(ArchiveRefused, MedkitError)
    assert not issubclass(ArchiveDown, ArchiveRefused)
    assert not issubclass(ArchiveRefused, ArchiveDown)


def test_what_an_archive_does_not_tell_is_not_zero():
    assert (StudyMatch("1.2").series, StudyMatch("1.2").instances) == (None, None)
    with pytest.raises(AttributeError):
        StudyMatch("1.2").instances = 3


def test_why_an_archive_is_down_survives_pickling():
    down = pickle.loads(pickle.dumps(ArchiveDown("PACS: no TLS", "tls-failed")))
    assert (str(down), down.code) == ("PACS: no TLS", "tls-failed")
    assert ArchiveDown("PACS: nobody").code == "archive-down"
