from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Ledger
from medkit.batch.notices import Kind, Notices
from medkit.batch.spool import SpoolLimits
from medkit.batch.status import server as module
from medkit.batch.status.page import content_security_policy
from medkit.batch.status.server import StatusServer
from medkit.errors import UsageError
from tests.batch.ledger.stories import Clock
from tests.batch.status.test_document import SCHEMA
from tests.batch.status.test_summary import Usage


@pytest.fixture
def served(batch):
    batch.one_of_each()
    with StatusServer(batch.job, clock=batch.clock, usage=lambda _: Usage(2 << 40, 0, 1 << 40)) as server:
        yield server


def ask(server, path, method="GET", **headers):
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [
        ("/", "text/html; charset=utf-8", "1 study in quarantine"),
        ("/?state=refused", "text/html; charset=utf-8", "Studies that are refused"),
        ("/status.json", "application/json", '"well": false'),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", 'medkit_batch_studies{state="made"} 1.0'),
        ("/health", "application/json", '"ready": true'),
        ("/health/live", "application/json", '"live": true'),
    ],
)
def test_what_is_served(served, path, kind, part):
    answer, text = ask(served, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert part in text
    assert answer.headers["Content-Security-Policy"] == content_security_policy()
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "medkit"
    head, nothing = ask(served, path, "HEAD")
    assert (head.status, head.headers["Content-Length"], nothing) == (200, str(len(text.encode())), "")


def test_the_status_keeps_to_its_schema(served):
    Draft202012Validator(SCHEMA).validate(json.loads(ask(served, "/status.json")[1]))


@pytest.mark.parametrize("path", ["/nothing", "/../etc/passwd", "/status.json/x", "/%00"])
def test_other_addresses_give_nothing(served, path):
    answer, text = ask(served, path)
    assert answer.status == 404
    assert "passwd" not in text


def test_nothing_can_be_changed(served):
    for method in ("POST", "PUT", "DELETE"):
        assert ask(served, "/", method)[0].status == 501


def test_a_web_site_cannot_ask_through_a_browser(served):
    assert ask(served, "/status.json", Host="evil.example")[0].status == 403
    assert ask(served, "/status.json", Host="[")[0].status == 403
    assert ask(served, "/status.json", Host="localhost:1234")[0].status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("evil.example", 403),
        ("status.hospital.example:8042", 200),
        ("localhost", 200),
        ("192.0.2.7:8042", 200),
        ("[::1]", 200),
    ],
)
def test_nor_where_it_listens_on_all_addresses(batch, asked, status):
    with StatusServer(batch.job, host="0.0.0.0", names=["Status.hospital.example"]) as server:
        assert ask(server, "/health/live", Host=asked)[0].status == status


@pytest.mark.parametrize(("kept", "status"), [(40 << 30, 200), (50 << 30, 503)])
def test_the_health_goes_by_what_the_store_keeps_free(batch, kept, status):
    limits = SpoolLimits(free_bytes=kept)
    usage = Usage(1 << 40, 0, 40 << 30)
    with StatusServer(batch.job, kept_free_bytes=limits.free_bytes, usage=lambda _: usage) as server:
        assert ask(server, "/health")[0].status == status


def test_it_listens_on_loopback_alone(served):
    assert urlsplit(served.url).hostname == "127.0.0.1"
    assert served._server.server_address[0] == "127.0.0.1"


def test_another_loopback(batch):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with StatusServer(batch.job, host="::1") as server:
        assert ask(server, "/health/live")[0].status == 200
        assert server.url.startswith("http://[::1]:")


def test_a_port_that_is_taken_is_told(batch, served):
    with pytest.raises(
        UsageError,
        match=r"the status page: expected an address to listen on, got 127\.0\.0\.1, port .* choose another port",
    ):
        StatusServer(batch.job, port=urlsplit(served.url).port).start()


def test_what_came_since_is_seen_and_a_visitor_in_a_hurry_is_not(batch, served, monkeypatch):
    looks = []
    summarise = module.summarise
    monkeypatch.setattr(module, "summarise", lambda *given: looks.append(1) or summarise(*given))
    with ThreadPoolExecutor(8) as pool:
        texts = set(pool.map(lambda _: ask(served, "/status.json")[1], range(24)))
    assert (len(texts), len(looks)) == (1, 1)
    batch.receive("late")
    batch.clock.pass_by(2)
    assert json.loads(ask(served, "/status.json")[1])["studies"]["receiving"] == 2


def test_before_there_is_a_ledger_it_lives_and_is_not_ready(tmp_path):
    job = JobFolder(tmp_path)
    with StatusServer(job) as server:
        assert ask(server, "/health/live")[0].status == 200
        answer, text = ask(server, "/health")
        assert answer.status == 503
        assert "expected a ledger, got no such file" in json.loads(text)["problems"][0]
        for path in ("/", "/status.json", "/metrics"):
            assert ask(server, path)[0].status == 503
        Ledger(job.ledger, "service").close()
        assert ask(server, "/")[0].status == 200


def test_a_full_disk_and_other_problems_are_not_ready(batch):
    clock, problems = Clock(), []
    with StatusServer(
        batch.job, problems=lambda: problems, clock=clock, usage=lambda _: Usage(2 << 40, 0, clock.now * 1e9)
    ) as server:
        assert ask(server, "/health")[0].status == 200
        problems.append("the node does not listen")
        answer, text = ask(server, "/health")
        assert (answer.status, json.loads(text)["problems"]) == (503, problems)
        problems.clear()
        clock.now = 0.0
        answer, text = ask(server, "/health")
        assert (answer.status, json.loads(text)["ready"]) == (503, False)


def test_what_only_the_service_knows_stands_among_the_alerts(batch):
    message = "1 of 2 die again and again (exit code 7 <b>); see the log"
    Notices(batch.job.notices).put(Kind.WORKERS, "workers", "workers-dying", message)
    with StatusServer(batch.job, usage=lambda _: Usage(2, 1, 1)) as server:
        told = json.loads(ask(server, "/status.json")[1])
        Draft202012Validator(SCHEMA).validate(told)
        assert told["well"] is False
        assert [alert["code"] for alert in told["alerts"]] == ["store-full", "workers-dying"]
        assert "workers: 1 of 2 die again and again (exit code 7 &lt;b&gt;)" in ask(server, "/")[1]
        assert 'medkit_batch_alert{code="workers-dying"} 1.0' in ask(server, "/metrics")[1]


def test_a_fault_of_medkit_shows_no_traceback(served, monkeypatch, caplog):
    monkeypatch.setattr(module, "status_document", lambda *_: {}["secret"])
    answer, text = ask(served, "/status.json")
    assert (answer.status, "secret" in text) == (500, False)
    assert "a fault of medkit" in caplog.text


def test_it_stops_and_can_be_started_again(batch):
    server = StatusServer(batch.job).start()
    port = urlsplit(server.url).port
    server.stop()
    server.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with server:
        assert ask(server, "/")[0].status == 200


def test_a_source_in_trouble_is_told_everywhere_and_is_no_reason_to_start_anew(batch):
    Notices(batch.job.notices, batch.clock).put(
        Kind.SOURCE, "archive-1", "tls-failed", "certificate has expired"
    )
    with StatusServer(batch.job, clock=batch.clock, kept_free_bytes=0) as server:
        answer, text = ask(server, "/health")
        assert answer.status == 200
        (told,) = json.loads(text)["alerts"]
        assert told == "archive-1: certificate has expired"
        assert told in ask(server, "/")[1]
        (alert,) = json.loads(ask(server, "/status.json")[1])["alerts"]
        assert alert == {"code": "source-fails", "message": told}
        assert 'medkit_batch_alert{code="source-fails"} 1.0' in ask(server, "/metrics")[1]
