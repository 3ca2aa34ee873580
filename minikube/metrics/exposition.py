"""Figures in Prometheus' formats, through its own client library (floor 0, pure): the families that both processes show.

The library is imported by the first scrape (30 ms, 2 MB). Names and units are Prometheus': `_total` counts, base units
(seconds, bytes, ratios). It refuses to count, and to serve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from minikube.metrics.counters import HistogramView, ProbeCount, RegistryStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector


def render(collector: Collector, accept: str) -> tuple[bytes, str]:
    """The answer and its content type: OpenMetrics for those who ask for it, else Prometheus' text format."""
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is none
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def registry_families(status: RegistryStatus) -> Iterator[Metric]:
    """The registry and the calls that it answered."""
    yield gauge("registry_uptime_seconds", "How long the registry has been running.", value=status.uptime)
    if status.clients is not None:
        yield gauge("registry_clients", "Open connections to the registry.", value=status.clients)
    yield gauge("registry_instances", "Instances that are registered.", value=status.instances)
    yield gauge("registry_revision", "Revision of the registry's change log.", value=status.revision)
    yield gauge("registry_stale", "1 while Redis is away and reads come from memory.", value=status.stale)
    calls = counter("registry_calls", "Calls of the registry by result.", ("method", "result"))
    seconds = histogram("registry_call_duration_seconds", "From a call's decoding to its answer.", ("method",))
    for one in status.counters.calls:
        for result, count in one.results.items():
            calls.add_metric((one.method, result), count)
        add_histogram(seconds, (one.method,), one.seconds)
    yield from (calls, seconds)


def probe_families(probers: Mapping[str, Sequence[ProbeCount]]) -> Iterator[Metric]:
    """Health probes by who made them."""
    results = counter("probes", "Health probes by result.", ("service", "prober", "result"))
    seconds = histogram("probe_duration_seconds", "How long probes took.", ("service", "prober"))
    for prober, counts in probers.items():
        for one in counts:
            for result, count in one.results.items():
                results.add_metric((one.service, prober, result), count)
            add_histogram(seconds, (one.service, prober), one.seconds)
    yield from (results, seconds)


def gauge(name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None) -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"minikube_{name}", text, value=value, labels=labels if value is None else None)


def counter(name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None) -> CounterMetricFamily:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(f"minikube_{name}", text, value=value, labels=labels if value is None else None)


def histogram(name: str, text: str, labels: tuple[str, ...]) -> HistogramMetricFamily:
    from prometheus_client.metrics_core import HistogramMetricFamily

    return HistogramMetricFamily(f"minikube_{name}", text, labels=labels)


def add_histogram(family: HistogramMetricFamily, labels: tuple[str, ...], view: HistogramView) -> None:
    bounds = [*(f"{bound:g}" for bound in view.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(view.counts), strict=True)), view.sum)
