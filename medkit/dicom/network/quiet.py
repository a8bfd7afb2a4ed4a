"""Libraries kept from writing what they should not: requests, answers and values name patients and studies."""

from __future__ import annotations

import logging
import re
import warnings

from pynetdicom import _config

__all__ = ["keep_quiet"]

_LOGGERS = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3")
_SILENT = ("ignore", None, Warning, re.compile(r"(pydicom|pynetdicom)(\.|$)"), 0)


def keep_quiet() -> None:
    """Let the libraries log and warn of nothing: at every level, their words quote UIDs, names and other values.

    What happened is for our own loggers to say. It holds for the process, and for all of its threads:
    ``warnings.catch_warnings`` may not be used in several at a time.
    """
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"  # no remarks on each message: they cost time, too
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level != logging.CRITICAL:  # to set it costs time
            logger.setLevel(logging.CRITICAL)
    if _SILENT not in warnings.filters:
        warnings.filterwarnings("ignore", module=_SILENT[3].pattern)
