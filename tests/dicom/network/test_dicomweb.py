"""What is asked of an archive over DICOMweb: Orthanc answers, and faulty servers of Python's own."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.network.dicomweb import DicomwebArchive
from medkit.errors import UsageError
from tests.dicom.network.test_dimse import Keep, uids
from tests.dicom.network.test_node import data_set
from tests.servers.loopback import free_port
from tests.servers.orthanc import PASSWORD, USER


@pytest.fixture
def archive(orthanc, monkeypatch) -> DicomwebArchive:
    monkeypatch.setenv("PACS_USER", USER)
    monkeypatch.setenv("PACS_PASSWORD", PASSWORD)
    return DicomwebArchive(orthanc.dicomweb, user_variable="PACS_USER", password_variable="PACS_PASSWORD")


def test_what_is_sent_is_found_counted_and_read_back(archive, study):
    archive.echo()
    study_uid, series_uid, sop_uid = uids(study[0])
    assert archive.find({"StudyInstanceUID": study_uid}) == []
    assert archive.counts(study_uid) == {}
    assert archive.retrieve(study_uid, Keep()) == 0
    assert archive.read_back(study_uid, series_uid, sop_uid) is None
    assert archive.send(study) == {uids(path)[2]: None for path in study}
    (match,) = archive.find({"StudyInstanceUID": study_uid, "ModalitiesInStudy": "CT"})
    assert (match.study_uid, match.instances) == (study_uid, len(study))
    assert archive.find({"StudyInstanceUID": study_uid, "ModalitiesInStudy": "MR"}) == []
    assert archive.counts(study_uid) == {series_uid: len(study)}
    for path in study:
        assert content_hash(archive.read_back(*uids(path))) == content_hash(path)


def test_a_study_is_retrieved_as_it_is_stored(archive, study):
    dataset = pydicom.dcmread(study[0])
    dataset.Rows, dataset.Columns = 32, 32
    dataset.PixelData = np.arange(32 * 32, dtype="<u2").tobytes()
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(study[0], enforce_file_format=True)
    archive.send(study)
    came = Keep()
    assert archive.retrieve(uids(study[0])[0], came) == len(study)
    for path in study:
        assert data_set(came[uids(path)[2]]) == data_set(path.read_bytes())


def test_what_the_taker_raises_comes_through(archive, study):
    def take(study_uid, instance, file):
        raise OSError("the disk is full")

    archive.send(study)
    with pytest.raises(OSError, match="the disk is full"):
        archive.retrieve(uids(study[0])[0], take)
    archive.echo()


def test_a_wrong_password_is_refused(archive, orthanc, monkeypatch):
    monkeypatch.setenv("PACS_PASSWORD", "wrong")
    wrong = DicomwebArchive(orthanc.dicomweb, user_variable="PACS_USER", password_variable="PACS_PASSWORD")
    with pytest.raises(ArchiveRefused) as caught:
        wrong.echo()
    assert caught.value.code == "not-allowed"
    assert "wrong" not in str(caught.value)


def test_nobody_there_is_down():
    with pytest.raises(ArchiveDown):
        DicomwebArchive(f"http://127.0.0.1:{free_port()}/dicom-web").echo()


@contextmanager
def faulty(status=200, body=b"", kind="application/dicom+json", tls=None, seen=None):
    """A server that gives one answer to everything, or what a function makes of the path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if seen is not None:
                seen.append((self.path, dict(self.headers)))
            answer = body(self.path) if callable(body) else body
            self.send_response(status)
            self.send_header("Content-Type", kind(self.path) if callable(kind) else kind)
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_cannot_just_now_is_down(study, status):
    with faulty(status) as url:
        archive = DicomwebArchive(url)
        for ask in (archive.echo, lambda: archive.send(study[:1]), lambda: archive.retrieve("1.2", Keep())):
            with pytest.raises(ArchiveDown, match=str(status)):
                ask()


@pytest.mark.parametrize(
    ("status", "code"), [(400, "http-400"), (401, "not-allowed"), (403, "not-allowed"), (501, "http-501")]
)
def test_a_server_that_says_no_is_refused(status, code):
    with faulty(status) as url, pytest.raises(ArchiveRefused) as caught:
        DicomwebArchive(url).echo()
    assert caught.value.code == code


def failed(uid, reason) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


@pytest.mark.parametrize("status", [200, 202, 409])
def test_an_object_that_is_not_taken_is_told_with_its_reason(study, status):
    uid = uids(study[0])[2]
    with faulty(status, failed(uid, 0xA900)) as url:
        assert "0xA900" in DicomwebArchive(url).send(study[:1])[uid]
    with faulty(status, failed(uid, 0xA700)) as url, pytest.raises(ArchiveDown, match="0xA700"):
        DicomwebArchive(url).send(study[:1])


def test_a_conflict_without_a_reason_is_no_success(study):
    with faulty(409, b"no") as url:
        assert "got 409" in DicomwebArchive(url).send(study[:1])[uids(study[0])[2]]


def test_html_in_the_place_of_json_is_refused():
    with (
        faulty(body=b"<html>log in</html>", kind="text/html") as url,
        pytest.raises(ArchiveRefused) as caught,
    ):
        DicomwebArchive(url).find({})
    assert caught.value.code == "answer-unreadable"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}',
        b'["a"]',
        b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00201208": {"vr": "IS", "Value": ["many"]}}]',
        b'[{"0020000D": {"vr": "UI", "Value": [{}]}}]',
        b'[{"0020000D": {"vr": "PN", "Value": [7]}}]',
    ],
)
def test_json_that_is_no_answer_is_refused(body):
    with faulty(body=body) as url, pytest.raises(ArchiveRefused) as caught:
        DicomwebArchive(url).find({})
    assert caught.value.code == "answer-unreadable"


def series_of(count: int):
    found = {"0020000E": {"vr": "UI", "Value": ["1.2.1"]}, "00201209": {"vr": "IS", "Value": [count]}}
    return lambda path: json.dumps([found] if "offset=0" in path else []).encode()


def answering(counted: int, files):
    def body(path):
        if "?" in path:
            return series_of(counted)(path)
        joined = b"".join(
            b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files
        )
        return joined + b"--b--"

    return {
        "body": body,
        "kind": lambda path: "application/dicom+json" if "?" in path else "multipart/related; boundary=b",
    }


def test_a_study_that_lacks_an_instance_is_refused(study):
    files = [path.read_bytes() for path in study]
    with faulty(**answering(len(study), files)) as url:
        assert DicomwebArchive(url).retrieve(uids(study[0])[0], Keep()) == len(study)
    for fewer in (files[1:], [*files[1:], files[1]]):
        with faulty(**answering(len(study), fewer)) as url, pytest.raises(ArchiveRefused) as caught:
            DicomwebArchive(url).retrieve(uids(study[0])[0], Keep())
        assert caught.value.code == "retrieve-incomplete"


def test_an_answer_that_breaks_off_is_down(study):
    def body(path):
        return series_of(1)(path) if "?" in path else b"--b\r\n\r\n" + study[0].read_bytes()

    kinds = answering(1, [])["kind"]
    with faulty(body=body, kind=kinds) as url, pytest.raises(ArchiveDown, match="whole"):
        DicomwebArchive(url).retrieve(uids(study[0])[0], Keep())


@pytest.mark.parametrize("file", [b"no DICOM", b""])
def test_what_is_no_dicom_file_is_refused(file):
    with faulty(**answering(1, [file])) as url:
        archive = DicomwebArchive(url)
        for ask in (
            lambda: archive.retrieve("1.2", Keep()),
            lambda: archive.read_back("1.2", "1.2.1", "1.2.3"),
        ):
            with pytest.raises(ArchiveRefused) as caught:
                ask()
            assert caught.value.code == "answer-unreadable"


def test_instances_of_another_study_are_refused(study):
    with (
        faulty(**answering(1, [study[0].read_bytes()])) as url,
        pytest.raises(ArchiveRefused, match="one of another"),
    ):
        DicomwebArchive(url).retrieve("1.2.3", Keep())


@pytest.mark.parametrize("pages", [True, False])
def test_a_search_is_followed_to_its_end_whether_the_server_knows_pages_or_not(pages):
    every = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]}} for number in range(5)]

    def body(path):
        offset = int(path.partition("offset=")[2].partition("&")[0])
        return json.dumps(every[offset : offset + 2] if pages else every).encode()

    with faulty(body=body) as url:
        assert [match.study_uid for match in DicomwebArchive(url).find({})] == [
            f"1.2.{number}" for number in range(5)
        ]


def test_a_token_from_the_environment_is_sent_and_netrc_is_not_read(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PACS_TOKEN", "abc")
    seen = []
    with faulty(body=b"[]", seen=seen) as url:
        DicomwebArchive(url, token_variable="PACS_TOKEN").echo()
        DicomwebArchive(url).echo()
    (_, first), (_, second) = seen
    assert first["Authorization"] == "Bearer abc"
    assert "Authorization" not in second


def test_credentials_that_are_missing_or_would_be_seen_are_refused(monkeypatch):
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    url = "https://pacs.example.org/dicom-web"
    for call, said in (
        ({"url": url, "token_variable": "PACS_TOKEN"}, "PACS_TOKEN: expected an environment variable"),
        ({"url": url, "user_variable": "PACS_USER"}, "those of a user and a password"),
        ({"url": "http://pacs.example.org", "token_variable": "PACS_TOKEN"}, "expected https"),
        ({"url": "https://me:secret@pacs.example.org"}, "without credentials"),
        ({"url": "pacs.example.org"}, "expected a URL"),
        ({"url": "ftp://pacs.example.org"}, "expected a URL"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            DicomwebArchive(**call)
        assert "secret" not in str(caught.value)


def test_tls_is_checked(certificates):
    context = certificates.server.server_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    with faulty(body=b"[]", tls=context) as url:
        DicomwebArchive(url, tls=certificates.client).echo()
        for tls in (None, certificates.stranger):
            with pytest.raises(
                ArchiveDown, match=r"expected TLS that both sides trust, got: .*certificate"
            ) as caught:
                DicomwebArchive(url, tls=tls, seconds=5).echo()
            assert caught.value.code == "tls-failed"


def test_what_is_no_dicom_file_is_not_sent(tmp_path):
    (tmp_path / "a.dcm").write_text("no DICOM")
    with pytest.raises(UsageError, match="expected a DICOM file to send"):
        DicomwebArchive("http://127.0.0.1:1").send([tmp_path / "a.dcm"])
