"""`GET /metrics` (floor 3, pure): the board, and what was counted, through Prometheus' own client library.

Nothing is kept between two scrapes: a collector goes over one immutable snapshot. The library is imported by the first scrape
(30 ms, 2 MB). It refuses to run in the trio thread: a thousand instances take 60 ms of a core, and on a loaded
machine more than a second to get them.

Names and units are Prometheus': `_total` counts, base units (seconds, bytes, ratios).
"""

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

INSTANCE = ("service", "instance")


class Scrape(Struct, frozen=True):
    """Everything that one answer is made of."""

    snapshot: Snapshot
    counted: InstanceCounts
    probes: tuple[ProbeCount, ...]
    """The supervisor's own; the registry's are in `figures`."""
    figures: MetricsInput
    stream_clients: int


def render_metrics(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """The answer and its content type: OpenMetrics for those who ask for it, else Prometheus' text format."""
    return render(MetricsCollector(scrape), accept)


class MetricsCollector:
    """Implements prometheus_client's collector protocol over one scrape."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        yield from self._supervisor()
        yield from self._services()
        yield from self._instances()
        status = self._scrape.figures.registry
        theirs = status.counters.probes if status else ()
        yield from probe_families({"registry": theirs, "supervisor": self._scrape.probes})
        yield gauge("registry_up", "1 when the registry answered this scrape.", value=status is not None)
        if status is not None:
            yield from registry_families(status)
        yield from self._logs()

    def _supervisor(self) -> Iterator[Metric]:
        board = self._scrape.snapshot
        info = gauge("build_info", "1; the labels tell what runs.", ("version", "project"))
        info.add_metric((board.version, board.project), 1)
        yield info
        yield gauge("start_time_seconds", "When the supervisor started, Unix time.", value=board.started)
        yield gauge("board_revision", "Revision of the status board; only grows.", value=board.revision)
        yield gauge("stream_clients", "Open readers of /v1/stream.", value=self._scrape.stream_clients)
        latest = board.events[-1].number if board.events else 0
        yield counter("events", "Events that happened.", value=latest)
        up = gauge("part_up", "1 while the supervisor's own part runs.", ("part",))
        restarts = counter("part_restarts", "Restarts of the supervisor's own part.", ("part",))
        for part in board.parts:
            up.add_metric((part.name,), part.state is ProcessState.RUNNING)
            restarts.add_metric((part.name,), part.restarts)
        yield from (up, restarts)

    def _services(self) -> Iterator[Metric]:
        board = self._scrape.snapshot
        wanted = gauge("service_replicas", "How many instances there are to be.", ("service",))
        states = gauge("service_instances", "Instances by process state.", ("service", "state"))
        checks = gauge("service_checks", "Instances by check state.", ("service", "check"))
        state_counts = Counter((one.service, one.state) for one in board.instances)
        check_counts = Counter((one.service, one.check) for one in board.instances)
        for service in board.services:
            if service.kind != "external":
                wanted.add_metric((service.name,), service.replicas)
            for state in ProcessState:
                states.add_metric((service.name, state.value), state_counts[service.name, state])
            for check in CheckState:
                checks.add_metric((service.name, check.value), check_counts[service.name, check])
        starts = histogram("start_duration_seconds", "From a process' start until it was ready.", ("service",))
        for name, view in self._scrape.counted.starts.items():
            add_histogram(starts, (name,), view)
        yield from (wanted, states, checks, starts)

    def _instances(self) -> Iterator[Metric]:
        board = self._scrape.snapshot
        up = gauge("instance_up", "1 while the instance runs.", INSTANCE)
        passing = gauge("instance_passing", "1 while the instance passes its check.", INSTANCE)
        started = gauge("instance_start_time_seconds", "When the instance started, Unix time.", INSTANCE)
        restarts = counter("instance_restarts", "Restarts of the instance.", INSTANCE)
        exits = counter("instance_exits", "Ends of the instance's process, by how.", (*INSTANCE, "how"))
        cpu = gauge("instance_cpu_ratio", "Use of one core by the instance's processes (1: a whole one).", INSTANCE)
        memory = gauge("instance_memory_bytes", "Resident memory of the instance's processes.", INSTANCE)
        labels = {one.id: (one.service, one.name) for one in board.instances}
        for one in board.instances:
            up.add_metric(labels[one.id], one.state is ProcessState.RUNNING)
            restarts.add_metric(labels[one.id], one.restarts)
            if one.check is not None:
                passing.add_metric(labels[one.id], one.check is CheckState.PASSING)
            if one.started:
                started.add_metric(labels[one.id], one.started)
        for end in self._scrape.counted.exits:
            exits.add_metric((end.service, end.instance, end.how), end.count)
        for usage in board.usage:
            if usage.id in labels:
                cpu.add_metric(labels[usage.id], usage.cpu / 100)
                memory.add_metric(labels[usage.id], usage.memory)
        yield from (up, passing, started, restarts, exits, cpu, memory)

    def _logs(self) -> Iterator[Metric]:
        lines = counter("log_lines", "Lines of output that were read.", INSTANCE)
        dropped = counter("log_dropped_lines", "Lines of output that never reached the disk.", INSTANCE)
        for one in self._scrape.figures.logs:
            lines.add_metric((one.service, one.instance), one.lines)
            dropped.add_metric((one.service, one.instance), one.dropped)
        yield from (lines, dropped)
