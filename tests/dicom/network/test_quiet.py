"""Nothing that names a patient or a study gets into a log or a warning, at any level, in any thread."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import _config
from pynetdicom.dsutils import encode

from medkit.dicom.network.encoded import identify
from medkit.dicom.network.quiet import keep_quiet

LIBRARIES = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3")


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_log_nothing(name):
    logging.getLogger(name).setLevel(logging.DEBUG)
    keep_quiet()
    assert not logging.getLogger(name).isEnabledFor(logging.ERROR)
    assert not logging.getLogger(f"{name}.part").isEnabledFor(logging.ERROR)
    assert not _config.LOG_REQUEST_IDENTIFIERS
    assert not _config.LOG_RESPONSE_IDENTIFIERS


def test_values_that_are_none_are_not_quoted(recwarn, caplog):
    keep_quiet()
    with caplog.at_level(logging.DEBUG):
        Dataset().PatientBirthDate = "born of Doe"
        pydicom.DataElement(0x00100040, "CS", "of Doe and others, in a text that is long")
    assert not recwarn.list
    assert "Doe" not in caplog.text


def test_other_warnings_stay_as_they_are_after_many_threads():
    """``warnings.catch_warnings`` in several threads leaves all of them switched off."""
    keep_quiet()
    before, interval = list(warnings.filters), sys.getswitchinterval()
    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID, instance.StudyInstanceUID = "1.2", "1.2.3", "1.2.3"
    raw = encode(instance, False, True)

    def work():
        for _ in range(100):
            identify(io.BytesIO(raw), "1.2.840.10008.1.2.1")

    threads = [threading.Thread(target=work) for _ in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="of somebody else"):
        warnings.warn("of somebody else", stacklevel=1)
