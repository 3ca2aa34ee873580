"""Metrics in Prometheus' formats, written by its own client library; the metric families of registry and probes.

Names and units follow Prometheus: `_total` for counters, base units (seconds, bytes, ratios). It refuses to count anything
itself, and to serve HTTP. The functions that make families are named after the metric's type.
"""

# The client library is imported by the first scrape: importing it takes 30 ms and 2 MB.
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from minikube.metrics.counters import HistogramView, ProbeCount, RegistryStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector


def render(collector: Collector, accept: str) -> tuple[bytes, str]:
    """Return the metrics of `collector` and of this process as text, and their content type.

    The format is OpenMetrics if the request's Accept header asks for it, else Prometheus' text format.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the Accept header has a malformed version
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def registry_families(status: RegistryStatus) -> Iterator[Metric]:
    """Yield the metric families of a registry and of the calls to it."""
    yield gauge("registry_uptime_seconds", "How long the registry has been running.", value=status.uptime)
    if status.clients is not None:
        yield gauge("registry_clients", "Open connections to the registry.", value=status.clients)
    yield gauge("registry_instances", "Instances that are registered.", value=status.instances)
    yield gauge("registry_revision", "Revision of the registry's change log.", value=status.revision)
    yield gauge("registry_stale", "1 while Redis is unreachable and reads come from memory.", value=status.stale)
    calls = counter("registry_calls", "Calls of the registry by result.", ("method", "result"))
    seconds = histogram("registry_call_duration_seconds", "From a call's decoding to its reply.", ("method",))
    for call in status.counters.calls:
        for result, count in call.results.items():
            calls.add_metric((call.method, result), count)
        add_histogram(seconds, (call.method,), call.seconds)
    yield from (calls, seconds)


def probe_families(probers: Mapping[str, Sequence[ProbeCount]]) -> Iterator[Metric]:
    """Yield the metric families of health probes. `probers` maps `registry` or `supervisor` to the counts of its probes."""
    results = counter("probes", "Health probes by result.", ("service", "prober", "result"))
    seconds = histogram("probe_duration_seconds", "How long probes took.", ("service", "prober"))
    for prober, probes in probers.items():
        for probe in probes:
            for result, count in probe.results.items():
                results.add_metric((probe.service, prober, result), count)
            add_histogram(seconds, (probe.service, prober), probe.seconds)
    yield from (results, seconds)


def gauge(name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None) -> GaugeMetricFamily:
    """Return a gauge named `minikube_NAME` with help text `text`: with one value, or with labels and no value yet."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"minikube_{name}", text, value=value, labels=labels if value is None else None)


def counter(name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None) -> CounterMetricFamily:
    """Return a counter named `minikube_NAME_total` with help text `text`: with one value, or with labels and no value yet."""
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(f"minikube_{name}", text, value=value, labels=labels if value is None else None)


def histogram(name: str, text: str, labels: tuple[str, ...]) -> HistogramMetricFamily:
    """Return a histogram named `minikube_NAME` with help text `text` and labels, without values yet."""
    from prometheus_client.metrics_core import HistogramMetricFamily

    return HistogramMetricFamily(f"minikube_{name}", text, labels=labels)


def add_histogram(family: HistogramMetricFamily, labels: tuple[str, ...], view: HistogramView) -> None:
    """Add the values of a histogram to the family."""
    bounds = [*(f"{bound:g}" for bound in view.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(view.counts), strict=True)), view.sum)
