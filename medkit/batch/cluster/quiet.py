"""Keep patients out of what a worker of the cluster prints and logs, as the service's own workers do."""

from __future__ import annotations

import logging
import os
import sys
from functools import cache

from medkit.batch.logs import LogSettings, set_up_logs, silence_libraries

__all__ = ["be_quiet"]


@cache
def be_quiet() -> None:
    """Silence this process once and for good, but for lines of Dask and medkit themselves.

    Libraries quote headers in warnings, and what C libraries print nobody can look through.
    """
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    shown = [
        handler
        for logger in known
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout)
    ]
    stream = silence_libraries()
    set_up_logs(LogSettings(), f"cluster-worker-{os.getpid()}", stream)
    for handler in shown:
        handler.setStream(stream)
