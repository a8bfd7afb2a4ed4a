"""Nothing that names a patient or a study gets into a log, at any level."""

from __future__ import annotations

import logging

from pynetdicom import _config

from medkit.dicom.network.quiet import keep_quiet


def test_libraries_log_no_requests():
    for name in ("pynetdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    keep_quiet()
    assert not logging.getLogger("pynetdicom.association").isEnabledFor(logging.INFO)
    assert not logging.getLogger("dicomweb_client.web").isEnabledFor(logging.INFO)
    assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("pynetdicom").isEnabledFor(logging.WARNING)
    assert not _config.LOG_REQUEST_IDENTIFIERS
    assert not _config.LOG_RESPONSE_IDENTIFIERS
