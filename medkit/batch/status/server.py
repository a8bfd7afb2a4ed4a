"""The status over HTTP: ``/`` for a person, ``/status.json``, ``/metrics``, ``/health`` and ``/health/live``.

Reading alone, and no patient in it; still it is bound to loopback unless told, and a request that names another host is
refused, so that no web site can have a browser ask for it (DNS rebinding). It neither encrypts nor asks who is
there: put a proxy that does in front of it.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import shutil
import socket
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from medkit.batch.ledger import LedgerView
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import Alert, Thresholds, alerts
from medkit.batch.status.document import status_document
from medkit.batch.status.health import not_ready
from medkit.batch.status.metrics import metrics
from medkit.batch.status.page import PageQuery, content_security_policy, render_page
from medkit.batch.status.summary import summarise
from medkit.dicom.network.listening import cannot_listen
from medkit.errors import MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from medkit.batch.folder import JobFolder
    from medkit.batch.status.summary import Summary, Usage

__all__ = ["StatusServer"]

_LOG = logging.getLogger(__name__)
_KEPT_SECONDS = 2.0  # for which a summary is given again, so that no visitor can keep the ledger busy
_REQUEST_SECONDS = 10.0
_HTML, _TEXT, _JSON = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"


@dataclass(frozen=True)
class _Answer:
    status: HTTPStatus
    content_type: str
    body: bytes


class StatusServer:
    """Serve the status of a batch from a thread of its own.

    Args:
        job: folder of the batch; its ledger may be made later.
        thresholds: when to call a person.
        host: address to listen on.
        port: 0 takes a free one.
        problems: what else keeps studies from being taken and worked on, asked for ``/health``: one line each.
        kept_free_bytes: on the disk; below it, the store takes no more.
        names: by which the page may be asked for besides ``localhost``, ``host`` and addresses, such as that of a proxy.
        clock: seconds since 1970 (UTC).
        usage: of the disk on which a path lies.
    """

    def __init__(
        self,
        job: JobFolder,
        thresholds: Thresholds | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        problems: Callable[[], Sequence[str]] = list,
        kept_free_bytes: int = SpoolLimits.free_bytes,
        names: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        usage: Callable[[Path], Usage] = shutil.disk_usage,
    ) -> None:
        self._job = job
        self._thresholds = thresholds or Thresholds()
        self._address = (host, port)
        self._problems = problems
        self._kept_free = kept_free_bytes
        self._names = names
        self._clock = clock
        self._usage = usage
        self._watched_since = clock()
        self._lock = Lock()
        self._view: LedgerView | None = None
        self._kept: tuple[Summary, list[Alert]] | None = None
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        """Listen.

        Raises:
            UsageError: the address cannot be listened on.
        """
        host, port = self._address
        kind = partial(
            _Handler, self._answer, frozenset({"localhost", host.lower(), *map(str.lower, self._names)})
        )
        try:
            self._server = (_Server6 if ":" in host else _Server)(self._address, kind)
        except (OSError, UnicodeError) as error:
            raise UsageError(f"the status page: {cannot_listen(host, port, error)}") from error
        Thread(target=self._server.serve_forever, name="status", daemon=True).start()
        return self

    @property
    def url(self) -> str:
        """Where the page is, once it is served."""
        assert self._server is not None, "start() comes first"
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._lock:
            if self._view is not None:
                self._view.close()
                self._view = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, target: str, accept: str) -> _Answer:
        """What a request for a target is told."""
        address = urlsplit(target)
        if address.path == "/health/live":
            return _json(HTTPStatus.OK, {"live": True})
        try:
            if address.path == "/health":
                return self._health()
            if address.path == "/":
                return self._page(address.query)
            if address.path == "/status.json":
                return _json(HTTPStatus.OK, status_document(*self._status()))
            if address.path == "/metrics":
                summary, told = self._status()
                body, content_type = metrics(self._opened(), summary, told, accept)
                return _Answer(HTTPStatus.OK, content_type, body)
        except (MedkitError, OSError) as error:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _text(HTTPStatus.NOT_FOUND, "There are /, /status.json, /metrics, /health and /health/live.")

    def _page(self, query: str) -> _Answer:
        summary, told = self._status()
        name = self._job.root.resolve().name
        page = render_page(self._opened(), summary, told, PageQuery.parse(query), name)
        return _Answer(HTTPStatus.OK, _HTML, page.encode())

    def _health(self) -> _Answer:
        try:
            _, told = self._status()
            found = not_ready(told)
        except (MedkitError, OSError) as error:
            found, told = [str(error)], []
        found += self._problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        document = {"live": True, "ready": not found, "problems": found}
        return _json(status, {**document, "alerts": [alert.message for alert in told]})

    def _status(self) -> tuple[Summary, list[Alert]]:
        view, now = self._opened(), self._clock()
        with self._lock:
            if self._kept is None or not 0 <= now - self._kept[0].at < _KEPT_SECONDS:
                summary = summarise(view, now, self._usage)
                found = alerts(summary, self._thresholds, self._watched_since, self._kept_free)
                self._kept = summary, found
            return self._kept

    def _opened(self) -> LedgerView:
        with self._lock:
            if self._view is None:
                self._view = LedgerView(self._job.ledger, self._clock)
            return self._view


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Bind without asking for the address's name, for which a network without name servers is waited for."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log that a visitor went away, which is no fault."""
        _LOG.debug("status page: a request came to nothing", exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, each by one function."""

    timeout = _REQUEST_SECONDS

    def __init__(self, answer: Callable[[str, str], _Answer], hosts: frozenset[str], *arguments: Any) -> None:
        self._answer = answer
        self._hosts = hosts
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer with a body."""
        self._send(self._found(), body=True)

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._send(self._found(), body=False)

    def version_string(self) -> str:
        """What answers; of its versions nobody needs to know."""
        return "medkit"

    def log_message(self, format: str, *values: Any) -> None:
        """Log a request for those who look for a fault; a query names no patient, but another program's might."""
        _LOG.debug("status page: %s", self.path.partition("?")[0] if hasattr(self, "path") else "no request")

    def _found(self) -> _Answer:
        if not _is_ours(self.headers.get("Host", ""), self._hosts):
            return _text(
                HTTPStatus.FORBIDDEN, "Ask for this host by its address, or by a name that it was given."
            )
        try:
            return self._answer(self.path, self.headers.get("Accept", ""))
        except Exception:
            _LOG.exception("status page: a fault of medkit")
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "A fault of medkit; its log says more.")

    def _send(self, answer: _Answer, *, body: bool) -> None:
        self.send_response(answer.status)
        for name, value in {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Content-Security-Policy": content_security_policy(),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(answer.body)


def _is_ours(header: str, names: frozenset[str]) -> bool:
    """Whether a request names an address, which no foreign name server can point here, or one of our names."""
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in names
    return True


def _json(status: HTTPStatus, content: dict[str, Any]) -> _Answer:
    return _Answer(status, _JSON, json.dumps(content, indent=2).encode() + b"\n")


def _text(status: HTTPStatus, line: str) -> _Answer:
    return _Answer(status, _TEXT, line.encode() + b"\n")
