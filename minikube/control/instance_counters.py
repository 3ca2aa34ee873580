"""What the board counts for `/metrics` (floor 3, pure): starts and ends of instances, as their rows tell them.

A row with `started` has something running. It refuses to know how instances are started, and counts nothing of what
others registered.
"""

from msgspec import Struct

from minikube.metrics.counters import START_BOUNDS_S, Histogram, HistogramView, ProbeCounters, counter_for
from minikube.model import InstanceView, ProcessState, is_ready


class ExitCount(Struct, frozen=True):
    """How often an instance ended, and how: `stopped` (asked for), `success`, `failure`, `signal`."""

    service: str
    instance: str
    how: str
    count: int


class InstanceCounts(Struct, frozen=True):
    """Everything counted so far. `starts` are the times from a start until it was ready, by service."""

    exits: tuple[ExitCount, ...]
    starts: dict[str, HistogramView]


class InstanceCounters:
    """Belongs to the board, which tells it of every row that changed. `probes` are the supervisor's own."""

    def __init__(self) -> None:
        self.probes = ProbeCounters()
        self._exits: dict[str, tuple[str, str, dict[str, int]]] = {}
        self._starts: dict[str, Histogram] = {}
        self._ready: dict[str, float] = {}
        """By instance: which start was seen to get ready."""

    def moved(self, old: InstanceView | None, new: InstanceView, now: float) -> None:
        """An instance's row changed, at `now` (Unix seconds)."""
        if old is not None and old.started and not new.started:
            ends = self._exits.setdefault(new.id, (new.service, new.name, {}))[2]
            how = exit_kind(new)
            ends[how] = ends.get(how, 0) + 1
        if new.started and self._ready.get(new.id) != new.started and is_ready(new):
            self._ready[new.id] = new.started
            starts = counter_for(self._starts, new.service, lambda: Histogram(START_BOUNDS_S))
            starts.observe(max(0.0, now - new.started))

    def dropped(self, id: str) -> None:
        """The instance is off the board."""
        self._exits.pop(id, None)
        self._ready.pop(id, None)

    @property
    def view(self) -> InstanceCounts:
        exits = (
            ExitCount(service, instance, how, count)
            for service, instance, ends in self._exits.values()
            for how, count in ends.items()
        )
        return InstanceCounts(tuple(exits), {service: histogram.view for service, histogram in self._starts.items()})


def exit_kind(row: InstanceView) -> str:
    if row.state in (ProcessState.STOPPED, ProcessState.STOPPING):
        return "stopped"
    if row.exit == "exit 0":
        return "success"
    return "signal" if row.exit.startswith("signal") else "failure"
