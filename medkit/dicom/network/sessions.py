"""HTTP sessions that ask one server and nobody else, trust whom DIMSE trusts, and hold no answer of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from medkit.dicom.network.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AnswerTooLong", "Redirected", "Session"]

_ANSWER_BYTES = 1 << 28  # of an answer that is held whole: the studies of a server that knows no pages


class Redirected(requests.RequestException):
    """A server would have us ask another one."""


class AnswerTooLong(requests.RequestException):
    """An answer that is longer than we hold."""


class Session(requests.Session):
    """A session that follows no redirect: objects and credentials go where they were sent, or nowhere.

    Neither ``~/.netrc`` nor proxies of the environment are used.

    Args:
        tls: authorities to trust in the place of the system's, and our own certificate.

    Raises:
        UsageError: a file of ``tls`` cannot be used.
    """

    def __init__(self, tls: TlsFiles | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.mount("https://", _Adapter(tls or TlsFiles()))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer would lead.

        Raises:
            Redirected: there is such a place.
        """
        if super().get_redirect_target(resp) is not None:
            resp.close()
            raise Redirected(response=resp)
        return None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request; answers that are not read as a stream are read here, and bounded."""
        stream = options.pop("stream", False)
        answer = super().send(request, stream=True, **options)
        if not stream:
            answer.raw = _Bounded(answer.raw)
            _ = answer.content
        return answer


class _Adapter(HTTPAdapter):
    def __init__(self, tls: TlsFiles) -> None:
        self._context = tls.client_context()
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave all of it to the context: requests would trust authorities of its own besides."""


class _Bounded:
    """The body of an answer, up to a limit."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, **options: Any) -> Iterator[bytes]:
        """Pieces of it, without their compression."""
        length = 0
        for piece in self._raw.stream(amount, **options):
            length += len(piece)
            if length > _ANSWER_BYTES:
                self._raw.close()
                raise AnswerTooLong
            yield piece
