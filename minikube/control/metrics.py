"""`GET /metrics`: the state store's snapshot and counters as Prometheus metrics, written by its own client library.

Nothing is kept between two scrapes: a collector walks over one immutable snapshot. It must not run in trio's thread: a thousand
instances take 60 ms of a core, and on a loaded machine more than a second.

Names and units follow Prometheus: `_total` for counters, base units (seconds, bytes, ratios).
"""

# The client library is imported by the first scrape: importing it takes 30 ms and 2 MB.
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from minikube.control.instance_counters import InstanceCounts
from minikube.control.interface import MetricsInput
from minikube.metrics.counters import ProbeCount
from minikube.metrics.exposition import (
    add_histogram,
    counter,
    gauge,
    histogram,
    probe_families,
    registry_families,
    render,
)
from minikube.model import CheckState, ProcessState, Snapshot

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

INSTANCE_LABELS = ("service", "instance_name")
"""Not `instance`: that is Prometheus' own label, with the address of the scraped target."""


class Scrape(Struct, frozen=True):
    """The data for one reply to `/metrics`."""

    snapshot: Snapshot
    counts: InstanceCounts
    probes: tuple[ProbeCount, ...]
    """Probes that the supervisor made; those of the registry are in `input`."""
    input: MetricsInput
    stream_clients: int


def render_metrics(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, in the format that the Accept header `accept` asks for."""
    return render(MetricsCollector(scrape), accept)


class MetricsCollector:
    """Implements the collector protocol of prometheus_client over one scrape."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        yield from self._supervisor()
        yield from self._services()
        yield from self._instances()
        status = self._scrape.input.registry
        registry_probes = status.counters.probes if status else ()
        yield from probe_families({"registry": registry_probes, "supervisor": self._scrape.probes})
        yield gauge("registry_up", "1 when the registry answered this scrape.", value=status is not None)
        if status is not None:
            yield from registry_families(status)
        yield from self._logs()

    def _supervisor(self) -> Iterator[Metric]:
        """Yield the metrics of the supervisor and of its backing services, Redis and the registry."""
        snapshot = self._scrape.snapshot
        info = gauge("build_info", "Always 1; the labels are the version and the project.", ("version", "project"))
        info.add_metric((snapshot.version, snapshot.project), 1)
        yield info
        yield gauge("start_time_seconds", "When the supervisor started, Unix time.", value=snapshot.started)
        yield gauge("state_revision", "Revision of the project's state; only grows.", value=snapshot.revision)
        yield gauge("stream_clients", "Open readers of /v1/stream.", value=self._scrape.stream_clients)
        latest = snapshot.events[-1].number if snapshot.events else 0
        yield counter("events", "Events that happened.", value=latest)
        up = gauge("part_up", "1 while Redis or the registry of the project runs and works.", ("part",))
        restarts = counter("part_restarts", "Restarts of the project's Redis or registry.", ("part",))
        for part in snapshot.parts:
            up.add_metric((part.name,), part.is_well)
            restarts.add_metric((part.name,), part.restarts)
        yield from (up, restarts)

    def _services(self) -> Iterator[Metric]:
        """Yield the metrics with one value per service."""
        snapshot = self._scrape.snapshot
        replicas = gauge("service_replicas", "Number of instances that the service should have.", ("service",))
        states = gauge("service_instances", "Instances by process state.", ("service", "state"))
        checks = gauge("service_checks", "Instances by check state.", ("service", "check"))
        state_counts = Counter((instance.service, instance.state) for instance in snapshot.instances)
        check_counts = Counter((instance.service, instance.check) for instance in snapshot.instances)
        for service in snapshot.services:
            if service.kind != "external":
                replicas.add_metric((service.name,), service.replicas)
            for state in ProcessState:
                states.add_metric((service.name, state.value), state_counts[service.name, state])
            for check in CheckState:
                checks.add_metric((service.name, check.value), check_counts[service.name, check])
        starts = histogram("start_duration_seconds", "From a process' start until it was ready.", ("service",))
        for name, view in self._scrape.counts.starts.items():
            add_histogram(starts, (name,), view)
        yield from (replicas, states, checks, starts)

    def _instances(self) -> Iterator[Metric]:
        """Yield the metrics with one value per instance."""
        snapshot = self._scrape.snapshot
        up = gauge("instance_up", "1 while the instance runs.", INSTANCE_LABELS)
        passing = gauge("instance_passing", "1 while the instance passes its check.", INSTANCE_LABELS)
        started = gauge("instance_start_time_seconds", "When the instance started, Unix time.", INSTANCE_LABELS)
        restarts = counter("instance_restarts", "Restarts of the instance.", INSTANCE_LABELS)
        exits = counter("instance_exits", "Exits of the instance's process, by how.", (*INSTANCE_LABELS, "how"))
        cpu = gauge("instance_cpu_ratio", "CPU use of the instance's processes (1: one whole core).", INSTANCE_LABELS)
        memory = gauge("instance_memory_bytes", "Resident memory of the instance's processes.", INSTANCE_LABELS)
        labels = {instance.id: (instance.service, instance.name) for instance in snapshot.instances}
        for instance in snapshot.instances:
            up.add_metric(labels[instance.id], instance.state is ProcessState.RUNNING)
            restarts.add_metric(labels[instance.id], instance.restarts)
            if instance.check is not None:
                passing.add_metric(labels[instance.id], instance.check is CheckState.PASSING)
            if instance.started:
                started.add_metric(labels[instance.id], instance.started)
        for exit in self._scrape.counts.exits:
            exits.add_metric((exit.service, exit.instance, exit.kind), exit.count)
        for usage in snapshot.usage:
            if usage.id in labels:
                cpu.add_metric(labels[usage.id], usage.cpu / 100)
                memory.add_metric(labels[usage.id], usage.memory)
        yield from (up, passing, started, restarts, exits, cpu, memory)

    def _logs(self) -> Iterator[Metric]:
        """Yield the metrics of log lines; those of removed instances as totals of their service, with no instance."""
        lines = counter("log_lines", "Lines of output that were read.", INSTANCE_LABELS)
        dropped = counter("log_dropped_lines", "Lines of output that were not written to the disk.", INSTANCE_LABELS)
        text = "How often another program removed, moved, replaced or truncated the log file."
        changes = counter("log_file_changes", text, INSTANCE_LABELS)
        for count in self._scrape.input.logs:
            lines.add_metric((count.service, count.instance), count.lines)
            dropped.add_metric((count.service, count.instance), count.dropped)
            if count.instance:
                changes.add_metric((count.service, count.instance), count.file_changes)
        yield from (lines, dropped, changes)
