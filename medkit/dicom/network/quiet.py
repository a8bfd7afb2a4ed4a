"""Libraries kept from writing what they should not: requests, answers and addresses name patients and studies."""

from __future__ import annotations

import logging

from pynetdicom import _config

__all__ = ["keep_quiet"]

_LOGGERS = ("pynetdicom", "dicomweb_client", "urllib3")


def keep_quiet() -> None:
    """Let the libraries log warnings and errors alone, and no identifier of a query at any level."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"  # no remarks on each message: they cost time, too
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
