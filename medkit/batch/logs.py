"""Logs for months: a line an event, as text or JSON, without patients.

Messages of medkit's batch and network parts are written so that no patient is in them. Those of others (pydicom quotes
values, MONAI names files) are told by their logger and place alone; of errors the kind and the place are told, and not
their text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

__all__ = ["LogSettings", "set_up_logs", "silence_libraries", "told"]

_OURS = ("medkit.batch", "medkit.dicom.network")
_FIELDS = "medkit_fields"
_DIGITS = 12  # of a study's hash, as tables show it
_FRAMES = 3


def told(*, study: str | None = None, **fields: Any) -> dict[str, Any]:
    """The ``extra`` of a message: what it is about. Give hashes, codes, names of parts and numbers, and no patient."""
    named = {} if study is None else {"study": study[:_DIGITS]}
    return {_FIELDS: named | {key: value for key, value in fields.items() if value is not None}}


@dataclass(frozen=True)
class LogSettings:
    """Where logs go, and how.

    Args:
        form: ``text`` or ``json``.
        path: a file that is appended to; standard error by default.
    """

    form: str = "text"
    path: Path | None = None


def set_up_logs(settings: LogSettings, process: str, stream: TextIO | None = None) -> None:
    """Let all loggers of this process write to one place.

    Args:
        settings: where and how.
        process: name of this process, which each line has.
        stream: in the place of standard error.
    """
    handler: logging.Handler = logging.StreamHandler(stream or sys.stderr)
    if settings.path is not None:
        handler = logging.FileHandler(settings.path, encoding="utf-8")
    handler.setFormatter(_Json(process) if settings.form == "json" else _Text(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR)  # of others: without their words, less than an error says nothing
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    warnings.simplefilter("ignore")


def silence_libraries() -> TextIO:
    """Keep what C libraries print, which may quote a header, out of the logs; give what logs are written to."""
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return stream


class _Formatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def content(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a line says."""
        ours = any(record.name == name or record.name.startswith(f"{name}.") for name in _OURS)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = record.getMessage() if ours else "a message that may name a patient was left out"
        content = {
            "time": moment,
            "level": record.levelname.lower(),
            "process": self._process,
            "message": said,
        }
        if not ours:
            content["place"] = f"{record.name}:{record.lineno}"
        content |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])[-_FRAMES:]
            content["error"] = record.exc_info[0].__name__
            content["at"] = " < ".join(f"{_module(one.filename)}:{one.lineno}" for one in reversed(frames))
        return content


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.content(record), default=str)


class _Text(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = self.content(record)
        head = " ".join(str(content.pop(key)) for key in ("time", "level", "process", "message"))
        tail = " ".join(f"{key}={value}" for key, value in content.items())
        return " ".join(f"{head} {tail}".split())


def _module(path: str) -> str:
    """The end of a file's path: what comes before it says only where Python lies."""
    return "/".join(path.split("/")[-2:])
