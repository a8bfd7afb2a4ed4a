"""An archive over DICOMweb: QIDO-RS, WADO-RS and STOW-RS (DICOM PS3.18)."""

from __future__ import annotations

import io
import ipaddress
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from requests.auth import HTTPBasicAuth

from medkit.dicom.network.answers import number_in, uid_in
from medkit.dicom.network.archive import (
    NOT_ALLOWED,
    TLS_FAILED,
    ArchiveDown,
    ArchiveRefused,
    StudyMatch,
    TakeInstance,
)
from medkit.dicom.network.encoded import Unidentified, identify_file
from medkit.dicom.network.multipart import BrokenAnswer, PartTooLong, parts
from medkit.dicom.network.node import NodeLimits
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.network.sessions import AnswerTooLong, Redirected, Session
from medkit.dicom.network.tls import tls_fault
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from medkit.dicom.network.tls import TlsFiles

__all__ = ["DicomwebArchive"]

_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON = "application/dicom+json"
_WHOLE = 1 << 40  # bytes sent in one piece: all of an object, since old servers know no chunks
_CHUNK = 1 << 20
_PAGE = 1000
_NOT_FOUND, _NOT_IMPLEMENTED = 404, 501
_NOT_ALLOWED = (401, 403)
_LATER = (408, 425, 429)
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


class DicomwebArchive:
    """An archive that speaks DICOMweb.

    Credentials come from the environment alone: neither from the URL, nor from ``~/.netrc``. Proxies that the
    environment names are not used, and redirects are refused.

    Args:
        url: of the service, such as ``https://pacs.example.org/dicom-web``.
        token_variable: name of the environment variable that holds a bearer token.
        user_variable: name of the one that holds a user's name.
        password_variable: name of the one that holds the password.
        tls: authorities to trust in the place of the system's, and our own certificate where the archive asks for one.
        seconds: how long the archive may be silent.
        instance_bytes: of one instance, which is held in memory.

    Raises:
        UsageError: the URL is none or holds credentials, an environment variable is not set, credentials would travel
            unencrypted, or a file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token_variable: str | None = None,
        user_variable: str | None = None,
        password_variable: str | None = None,
        tls: TlsFiles | None = None,
        seconds: float = 60,
        instance_bytes: int = NodeLimits.instance_bytes,
    ) -> None:
        keep_quiet()
        self._url = _checked_url(url)
        self._seconds, self._instance_bytes = seconds, instance_bytes
        self._session = Session(tls)
        self._session.headers["Accept"] = _JSON
        self._log_in(token_variable, user_variable, password_variable)
        self._client = DICOMwebClient(
            self._url, session=self._session, chunk_size=_WHOLE, permissive_uid=True, timeout=seconds
        )
        self._client.set_http_retry_params(retry=False)  # when to try again is for the caller to say

    @property
    def name(self) -> str:
        """The URL."""
        return self._url

    def echo(self) -> None:
        """Search for one study; see :class:`medkit.dicom.network.archive.Archive`."""
        with self._answering("a search"):
            self._client.search_for_studies(limit=1)

    def find(self, filters: Mapping[str, str]) -> list[StudyMatch]:
        """QIDO-RS; see :class:`medkit.dicom.network.archive.Archive`.

        Servers may leave out filters and wildcards that they do not know; where that matters, ask over DIMSE.
        """
        wanted = {keyword: value.replace("\\", ",") for keyword, value in filters.items()}
        found = {}
        for answer in self._search(
            "StudyInstanceUID", self._client.search_for_studies, search_filters=wanted
        ):
            study = uid_in(answer, "StudyInstanceUID", self.name)
            count = number_in(answer, "NumberOfStudyRelatedInstances", self.name)
            found[study] = StudyMatch(study, instances=count)
        return [match for _, match in sorted(found.items())]

    def counts(self, study_uid: str) -> dict[str, int]:
        """QIDO-RS; series that come without a number are counted instance by instance."""
        counts = {}
        for answer in self._search("SeriesInstanceUID", self._client.search_for_series, study_uid):
            series = uid_in(answer, "SeriesInstanceUID", self.name)
            count = number_in(answer, "NumberOfSeriesRelatedInstances", self.name)
            if count is None:
                search = self._client.search_for_instances
                counts[series] = sum(1 for _ in self._search("SOPInstanceUID", search, study_uid, series))
            else:
                counts[series] = count
        return counts

    def retrieve(self, study_uid: str, take: TakeInstance) -> int:
        """WADO-RS of the study, in the transfer syntaxes that it is stored in: as many as QIDO-RS counts, or refused."""
        expected = sum(self.counts(study_uid).values())
        taken: set[str] = set()
        for part in self._parts(f"studies/{quote(study_uid)}"):
            file = io.BytesIO(part)
            try:
                found = identify_file(file)
            except Unidentified as error:
                raise ArchiveRefused("answer-unreadable", f"{self.name}: {error}") from error
            if found.study != study_uid:
                raise ArchiveRefused(
                    "answer-unreadable",
                    f"{self.name}: expected instances of the study that was asked for, got one of another",
                )
            take(found.study, found.sop_instance, file)
            taken.add(found.sop_instance)
        if len(taken) < expected:
            raise ArchiveRefused(
                "retrieve-incomplete",
                f"{self.name}: expected all {expected} instances of a study, got {len(taken)}; see in the archive's log "
                "why it did not send them",
            )
        return len(taken)

    def send(self, paths: Sequence[Path]) -> dict[str, str | None]:
        """STOW-RS, one object a request."""
        answers = {}
        for path in paths:
            try:
                dataset = pydicom.dcmread(path)
                uid = str(dataset.SOPInstanceUID)
            except Exception as error:  # whatever pydicom meets in what is no DICOM file
                raise UsageError(
                    f"{path}: expected a DICOM file to send, got {error}; write it again"
                ) from error
            answers[uid] = self._store(dataset, uid)
        return answers

    def read_back(self, study_uid: str, series_uid: str, sop_uid: str) -> Dataset | None:
        """WADO-RS of one instance."""
        path = f"studies/{quote(study_uid)}/series/{quote(series_uid)}/instances/{quote(sop_uid)}"
        for part in self._parts(path):
            try:
                return pydicom.dcmread(io.BytesIO(part))
            except Exception as error:  # whatever pydicom meets in what is no DICOM file
                raise ArchiveRefused(
                    "answer-unreadable",
                    f"{self.name}: expected a DICOM file, got one that cannot be read ({type(error).__name__})",
                ) from error
        return None

    def _log_in(self, token: str | None, user: str | None, password: str | None) -> None:
        if token is None and user is None and password is None:
            return
        if (token is None) == (user is None) or (user is None) != (password is None):
            raise UsageError(
                f"{self.name}: expected the variable of a token, or those of a user and a password, got another choice"
            )
        if urlsplit(self._url).scheme != "https" and not _is_this_machine(urlsplit(self._url).hostname or ""):
            raise UsageError(
                f"{self.name}: expected https where a token or password is sent, got http; anybody could read it"
            )
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {_environment(token)}"
        elif user is not None and password is not None:
            self._session.auth = HTTPBasicAuth(_environment(user).encode(), _environment(password).encode())

    def _search(self, key: str, search: Callable[..., Any], *uids: str, **more: Any) -> Iterator[Dataset]:
        """All that a search gives, page by page; servers that know no pages give all at once, again and again."""
        seen: set[str] = set()
        asked = 0
        while True:
            with self._answering("a search"):
                try:
                    page = search(*uids, limit=_PAGE, offset=asked, **more)
                except requests.HTTPError as error:
                    if _status(error) == _NOT_FOUND and uids:
                        return
                    raise
            answers = [self._parsed(answer) for answer in page]
            uids_there = [uid_in(answer, key, self.name) for answer in answers]
            new = [answer for answer, uid in zip(answers, uids_there, strict=True) if uid and uid not in seen]
            yield from new
            seen.update(uids_there)
            asked += len(answers)
            if not new:
                return

    def _parsed(self, answer: Any) -> Dataset:
        try:
            return Dataset.from_json(answer)
        except Exception as error:  # whatever pydicom meets in what is no DICOM JSON
            raise ArchiveRefused(
                "answer-unreadable", f"{self.name}: expected an answer in DICOM JSON, got another"
            ) from error

    def _parts(self, path: str) -> Iterator[bytes]:
        """The files of an answer, one in memory at a time; none where the archive has nothing of that name."""
        with (
            self._answering("a retrieval"),
            self._session.get(
                f"{self._url}/{path}", headers={"Accept": _AS_STORED}, stream=True, timeout=self._seconds
            ) as answer,
        ):
            if answer.status_code == _NOT_FOUND:
                return
            answer.raise_for_status()
            kind, body = answer.headers.get("Content-Type", ""), answer.iter_content(_CHUNK)
            yield from parts(kind, body, self._instance_bytes)

    def _store(self, dataset: Dataset, uid: str) -> str | None:
        with self._answering("a store"):
            try:
                answer = self._client.store_instances([dataset])
            except requests.HTTPError as error:
                status = _status(error)
                if status in (*_NOT_ALLOWED, *_LATER) or status >= 500:
                    raise
                return self._reason(_said(error), uid) or f"expected status 200 of STOW-RS, got {status}"
        return self._reason(answer, uid)

    def _reason(self, answer: Dataset, uid: str) -> str | None:
        for item in answer.get("FailedSOPSequence") or ():
            if uid_in(item, "ReferencedSOPInstanceUID", self.name) in ("", uid):
                reason = number_in(item, "FailureReason", self.name) or 0
                if reason in _OUT_OF_RESOURCES:
                    raise ArchiveDown(
                        f"{self.name}: expected room for an object, got failure reason 0x{reason:04X}"
                    )
                return f"expected the archive to take it, got failure reason 0x{reason:04X}"
        return None

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Tell what goes wrong in a request in a way that says whether to try again."""
        try:
            yield
        except requests.HTTPError as error:
            status = _status(error)
            if status in _LATER or (status >= 500 and status != _NOT_IMPLEMENTED):
                raise ArchiveDown(f"{self.name}: expected an answer to {what}, got status {status}") from None
            code = NOT_ALLOWED if status in _NOT_ALLOWED else f"http-{status}"
            raise ArchiveRefused(
                code, f"{self.name}: expected an answer to {what}, got status {status}"
            ) from None
        except Redirected:
            raise ArchiveRefused(
                "redirected",
                f"{self.name}: expected an answer to {what}, got a redirect; name the address that it leads to",
            ) from None
        except (AnswerTooLong, PartTooLong) as error:
            raise ArchiveRefused(
                "answer-too-long",
                f"{self.name}: expected an answer to {what} that can be held, got a longer one",
            ) from error
        except requests.exceptions.SSLError as error:
            raise ArchiveDown(
                f"{self.name}: expected TLS that both sides trust, got: {tls_fault(error)}; mend the certificates",
                TLS_FAILED,
            ) from error
        except requests.exceptions.JSONDecodeError as error:
            raise ArchiveRefused(
                "answer-unreadable", f"{self.name}: expected an answer to {what} in JSON, got none"
            ) from error
        except (requests.RequestException, BrokenAnswer) as error:
            raise ArchiveDown(
                f"{self.name}: expected an answer to {what}, got none that is whole ({type(error).__name__})"
            ) from error


def _checked_url(url: str) -> str:
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname or split.query or split.fragment:
        raise UsageError(
            f"expected a URL such as https://pacs.example.org/dicom-web, got {url.partition('?')[0]!r}"
        )
    if split.username or split.password:
        raise UsageError(
            f"{split.hostname}: expected a URL without credentials, got some; put them into environment variables"
        )
    return url.rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _environment(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise UsageError(f"{variable}: expected an environment variable with credentials, got none; set it")
    return value


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


def _said(error: requests.HTTPError) -> Dataset:
    try:
        return Dataset.from_json(error.response.json() if error.response is not None else {})
    except Exception:  # no JSON, or none of DICOM: the status has to say it all
        return Dataset()
