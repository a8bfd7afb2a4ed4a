"""A session stays with the server that it was given, and holds no answer that does not end."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager

import pytest
import requests

from medkit.dicom.network import sessions
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.dicomweb import DicomwebArchive
from medkit.dicom.network.sessions import AnswerTooLong, Redirected, Session
from medkit.dicom.network.tls import TlsFiles
from tests.dicom.network.test_dicomweb import faulty


@contextmanager
def serving(answer):
    """A server that answers everything in one way; gives its URL and what it was sent."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            came.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            answer(self)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        server.server_close()


def elsewhere(url, status):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Location", f"{url}{handler.path}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def welcome(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_objects_follow_no_redirect(study, status):
    with serving(welcome) as (other, came), serving(elsewhere(other, status)) as (url, asked):
        archive = DicomwebArchive(f"{url}/dicom-web")
        for call in (lambda: archive.send(study[:1]), archive.echo, lambda: archive.read_back("1", "2", "3")):
            with pytest.raises(ArchiveRefused, match="name the address that it leads to") as caught:
                call()
            assert caught.value.code == "redirected"
        assert len(asked) == 3
        assert came == []


def test_a_plain_session_would_follow():
    """Else the test above shows nothing."""
    with serving(welcome) as (other, came), serving(elsewhere(other, 307)) as (url, _):
        requests.post(url, data=b"of Doe", timeout=5)
        assert came == [b"of Doe"]
        with pytest.raises(Redirected):
            Session().post(url, data=b"of Doe", timeout=5)
        assert len(came) == 1


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_an_answer_without_end_is_not_held(monkeypatch, encoding):
    monkeypatch.setattr(sessions, "_ANSWER_BYTES", 1 << 20)

    def endless(handler):
        import zlib

        packer = zlib.compressobj(wbits=31)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom+json")
        if encoding is not None:
            handler.send_header("Content-Encoding", encoding)
        handler.end_headers()
        while True:
            block = bytes(1 << 16)
            try:
                handler.wfile.write(block if encoding is None else packer.compress(block))
            except OSError:
                return

    with serving(endless) as (url, _):
        with pytest.raises(AnswerTooLong):
            Session().get(url, timeout=5)
        with pytest.raises(ArchiveRefused) as caught:
            DicomwebArchive(f"{url}/dicom-web").echo()
    assert caught.value.code == "answer-too-long"


def test_an_instance_that_is_too_large_is_refused(study):
    def large(path):
        return b"--b\r\n\r\n" + study[0].read_bytes() + b"\r\n--b--"

    with faulty(body=large, kind="multipart/related; boundary=b") as url:
        assert DicomwebArchive(url).read_back("1", "2", "3") is not None
        with pytest.raises(ArchiveRefused) as caught:
            DicomwebArchive(url, instance_bytes=1000).read_back("1", "2", "3")
    assert caught.value.code == "answer-too-long"


def test_the_systems_authorities_are_trusted_and_those_of_requests_are_not(certificates, monkeypatch):
    """A hospital's own authority is entered in the system; the same then holds for DIMSE and DICOMweb."""
    with faulty(body=b"[]", tls=certificates.server.server_context()) as url:
        options = {"tls": TlsFiles(certificates.client.certificate, certificates.client.key)}
        monkeypatch.setattr("certifi.where", lambda: str(certificates.client.authority))
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificates.client.authority))
        with pytest.raises(ArchiveDown):
            DicomwebArchive(url, **options).echo()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.client.authority))
        DicomwebArchive(url, **options).echo()
