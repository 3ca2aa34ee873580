"""Counts the starts and exits of instances for `/metrics`, from the changes of their rows in the state store.

It does not know how instances are started. Instances of external services are not counted: the store does not pass them on.
"""

from msgspec import Struct

from minikube.metrics.counters import START_BOUNDS_S, Histogram, HistogramView, ProbeCounters, counter_for
from minikube.model import InstanceView, ProcessState, is_ready


class ExitCount(Struct, frozen=True):
    """The number of exits of one instance, by `kind`: `stopped` (on request), `success`, `failure` or `signal`."""

    service: str
    instance: str
    kind: str
    count: int


class InstanceCounts(Struct, frozen=True):
    """The values of all counters. `starts` has the seconds from start to readiness, by service."""

    exits: tuple[ExitCount, ...]
    starts: dict[str, HistogramView]


class InstanceCounters:
    """Counts starts and exits of instances. The state store reports every changed row."""

    def __init__(self) -> None:
        self.probes = ProbeCounters()
        """The probes that the supervisor makes itself."""
        self._exits: dict[str, tuple[str, str, dict[str, int]]] = {}
        self._starts: dict[str, Histogram] = {}
        self._last_ready_start: dict[str, float] = {}
        """The start time with which an instance was last seen ready, by instance id."""

    def on_row_changed(self, old: InstanceView | None, new: InstanceView, now: float) -> None:
        """Compare two versions of an instance's row, and count an exit or a start between them. `now` is in Unix seconds."""
        if old is not None and old.started and not new.started:
            exits = self._exits.setdefault(new.id, (new.service, new.name, {}))[2]
            kind = exit_kind(new)
            exits[kind] = exits.get(kind, 0) + 1
        if new.started and self._last_ready_start.get(new.id) != new.started and is_ready(new):
            self._last_ready_start[new.id] = new.started
            starts = counter_for(self._starts, new.service, lambda: Histogram(START_BOUNDS_S))
            starts.observe(max(0.0, now - new.started))

    def shift(self, by: float) -> None:
        """Note that the clock was set, and with it the start times of all rows: no instance was started."""
        self._last_ready_start = {id: started + by for id, started in self._last_ready_start.items()}

    def on_row_dropped(self, id: str) -> None:
        """Drop the counters of an instance."""
        self._exits.pop(id, None)
        self._last_ready_start.pop(id, None)

    @property
    def view(self) -> InstanceCounts:
        """The values of all counters now."""
        exits = (
            ExitCount(service, instance, kind, count)
            for service, instance, counts in self._exits.values()
            for kind, count in counts.items()
        )
        return InstanceCounts(tuple(exits), {service: histogram.view for service, histogram in self._starts.items()})


def exit_kind(row: InstanceView) -> str:
    """Return the `ExitCount.kind` of an instance that has exited."""
    if row.state in (ProcessState.STOPPED, ProcessState.STOPPING):
        return "stopped"
    if row.exit == "exit 0":
        return "success"
    return "signal" if row.exit.startswith("signal") else "failure"
