from __future__ import annotations

import sys

import pytest

from medkit.batch.ledger import Stage
from medkit.batch.status.alerts import AlertCode, Thresholds, alerts
from medkit.batch.status.metrics import MOST_LABELS, metrics
from medkit.errors import UsageError
from tests.batch.status.live import STATES
from tests.batch.status.test_summary import look


def read(batch, accept="", **options):
    summary = look(batch, **options)
    return metrics(batch.ledger, summary, alerts(summary, Thresholds()), accept)


def samples(batch, **options):
    from prometheus_client.parser import text_string_to_metric_families

    body, _ = read(batch, **options)
    families = text_string_to_metric_families(body.decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_prometheus_reads_them(batch):
    found = samples(batch.one_of_each(), free=123)
    for state in STATES:
        assert found["medkit_batch_studies", state] == 1
    assert found["medkit_batch_reasons", "tilt", "refused"] == 1
    assert found["medkit_batch_arrivals_total",] == 10
    assert found["medkit_batch_deliveries_total",] == 1
    assert found["medkit_batch_stage_seconds_sum", "inference"] == 36
    assert found["medkit_batch_stage_seconds_count", "inference"] == 3
    assert found["medkit_batch_waiting", "making"] == 3
    assert found["medkit_batch_waiting_longest_seconds", "receiving"] == 1
    assert found["medkit_batch_last_arrival_timestamp_seconds",] == batch.clock.now - 1
    assert found["medkit_batch_disk_free_bytes",] == 123
    told = {code: found["medkit_batch_alert", code] for code in AlertCode}
    assert {code for code, on in told.items() if on} == {AlertCode.QUARANTINE, AlertCode.STORE_FULL}


def test_an_empty_batch_has_them_too(batch):
    found = samples(batch)
    assert found["medkit_batch_arrivals_total",] == 0
    assert ("medkit_batch_last_arrival_timestamp_seconds",) not in found, "never is no time"
    assert sum(value for (name, *_), value in found.items() if name == "medkit_batch_alert") == 0


def test_counters_never_go_back(batch):
    batch.deliver("a")
    before = samples(batch)
    batch.clock.pass_by(1)
    batch.receive("a")
    batch.ledger.complete(batch.ledger.arrivals()[0], "f" * 64, 2)
    after = samples(batch)
    assert after["medkit_batch_deliveries_total",] == before["medkit_batch_deliveries_total",] == 1
    assert after["medkit_batch_studies", "delivered"] == 0


def test_labels_are_bounded_and_name_no_study(batch):
    batch.one_of_each()
    batch.clock.pass_by(1000)
    claim = batch.ledger.claim(Stage.MAKE)
    for number in range(MOST_LABELS + 20):
        batch.ledger.timed(claim, f"part {number}", 1.0)
    found = samples(batch)
    assert len([key for key in found if key[0] == "medkit_batch_stage_seconds_sum"]) == MOST_LABELS
    body, _ = read(batch)
    assert not any(one.study in body.decode() for one in batch.ledger.studies())


def test_open_metrics_for_who_asks_for_them(batch):
    body, kind = read(batch, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert read(batch)[1].startswith("text/plain; version=")


def test_without_the_library_the_remedy_is_said(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'medkit-imaging\[batch\]'"):
        read(batch)
