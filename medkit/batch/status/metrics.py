"""Metrics in the text formats of Prometheus, from the ledger at the moment they are asked for.

https://prometheus.io/docs/instrumenting/exposition_formats. Labels are states, codes and names of stages alone, and of
codes and stages no more than :data:`MOST_LABELS`: no study, and no patient, is one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from medkit import __version__
from medkit.batch.ledger import State
from medkit.batch.status.alerts import AlertCode
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from medkit.batch.ledger import LedgerView, Timing
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Summary

__all__ = ["MOST_LABELS", "metrics"]

MOST_LABELS = 50
_NAME = "medkit_batch"


def metrics(
    view: LedgerView, summary: Summary, alerts: Sequence[Alert], accept: str = ""
) -> tuple[bytes, str]:
    """The metrics, and their content type.

    Args:
        view: of the ledger, for what is counted from its beginning.
        summary: how the batch stands.
        alerts: what is to be looked at.
        accept: the ``Accept`` header of who asks; Prometheus' own text without one.

    Raises:
        UsageError: prometheus_client is not installed.
        LedgerError: the ledger cannot be read.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError as error:
        raise UsageError(
            "metrics need prometheus_client, which is not installed; pip install 'medkit-imaging[batch]'"
        ) from error

    with view.reading():
        families = [*_standing(summary, alerts), *_counted(view)]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collected:
    """What a registry of prometheus_client asks for metrics."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _standing(summary: Summary, alerts: Sequence[Alert]) -> Iterator[Metric]:
    told = {alert.code for alert in alerts}
    yield _gauge("info", "The medkit that answers.", {(__version__,): 1}, "version")
    yield _gauge("alert", "1: a person has to look.", {(code,): code in told for code in AlertCode}, "code")
    yield _gauge(
        "studies", "Studies by state.", {(state,): n for state, n in summary.counts.items()}, "state"
    )
    reasons: dict[tuple[str, ...], float] = {(one.state, one.code): one.count for one in summary.reasons}
    yield _gauge("reasons", "Studies by state and reason, the commonest.", reasons, "state", "code")
    waiting = {
        "receiving": summary.receiving,
        "making": summary.making,
        "delivering": summary.delivering,
        "silent": summary.silent,
        "withdrawing": summary.withdrawals,
    }
    yield _gauge(
        "waiting", "Studies (of withdrawing: objects) that wait, or whose worker is silent.",
        {(name,): one.count for name, one in waiting.items()}, "for",
    )  # fmt: skip
    yield _gauge(
        "waiting_longest_seconds", "How long the first of them waits.",
        {(name,): 0 if one.since is None else summary.at - one.since for name, one in waiting.items()}, "for",
    )  # fmt: skip
    for name, flow in (("arrival", summary.arrivals), ("delivery", summary.deliveries)):
        if flow.last is not None:
            yield _gauge(f"last_{name}_timestamp_seconds", f"When the last {name} was.", {(): flow.last})
    yield _gauge("disk_free_bytes", "Free on the disk of the batch.", {(): summary.free_bytes})
    yield _gauge("disk_size_bytes", "Size of that disk.", {(): summary.total_bytes})


def _counted(view: LedgerView) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for name, state in (("arrivals", State.RECEIVING), ("deliveries", State.DELIVERED)):
        text = "Times that a study began to arrive." if name == "arrivals" else "Studies that were delivered."
        yield CounterMetricFamily(f"{_NAME}_{name}", text, value=view.entered(state, 0.0))
    yield _stages(view.timings())


def _stages(timings: Mapping[str, Timing]) -> Metric:
    from prometheus_client.metrics_core import SummaryMetricFamily

    family = SummaryMetricFamily(
        f"{_NAME}_stage_seconds", "What each part of the work took.", labels=["stage"]
    )
    for name, timing in islice(timings.items(), MOST_LABELS):
        family.add_metric([name], timing.count, timing.total_seconds)
    return family


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(f"{_NAME}_{name}", text, labels=labels)
    for label, value in values.items():
        family.add_metric(label, float(value))
    return family
