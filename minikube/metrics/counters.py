"""Histograms and counters that a process keeps, and the structs that carry their values.

The registry counts its calls and probes, and reports them in `Discovery.Status`. The supervisor counts its own probes, and the
starts and exits of its instances. `/metrics` shows all of them. Counters only grow while a process runs; times are in seconds.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

CALL_BOUNDS_S = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
PROBE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
START_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

MAX_NAMES = 1_024
OTHERS = "(other)"
"""The name that further names are counted under; no service can have it."""

T = TypeVar("T")


class HistogramView(Struct, frozen=True, rename="pascal"):
    """The values of a histogram: `counts[i]` observations were above `bounds[i - 1]` and at most `bounds[i]`.

    There is one count more than bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class CallCount(Struct, frozen=True, rename="pascal"):
    """Calls of one RPC method. `results` are counts by outcome: `ok`, or an error's name such as `not_found`."""

    method: str
    results: dict[str, int]
    seconds: HistogramView


class ProbeCount(Struct, frozen=True, rename="pascal"):
    """Probes of one service's instances. `results` are counts by outcome: `pass`, `fail`, `timeout`, `unknown`."""

    service: str
    results: dict[str, int]
    seconds: HistogramView


class RegistryCounters(Struct, frozen=True, rename="pascal"):
    """The counters of a registry since its start, as `Discovery.Status` reports them on request."""

    calls: tuple[CallCount, ...] = ()
    probes: tuple[ProbeCount, ...] = ()


class RegistryStatus(Struct, frozen=True, rename="pascal"):
    """The state of a registry for `/metrics`: the result of `Discovery.Status` with its counters."""

    uptime: float
    """Seconds since the start of the registry."""
    instances: int
    revision: int
    clients: int | None
    """Open connections. None if the status was not requested over one of them."""
    stale: bool
    counters: RegistryCounters


class Histogram:
    """Counts observations in buckets with fixed upper bounds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add `times` observations of `value`."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    @property
    def view(self) -> HistogramView:
        """The current values of the histogram."""
        return HistogramView(self._bounds, tuple(self._counts), self._sum)


class OutcomeCounter:
    """Counts operations by outcome, with a histogram of their durations."""

    __slots__ = ("results", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.results: dict[str, int] = {}
        self.seconds = Histogram(bounds)

    def record(self, result: str, seconds: float, times: int = 1) -> None:
        """Count `times` operations with this outcome and duration."""
        self.results[result] = self.results.get(result, 0) + times
        self.seconds.observe(seconds, times)


class ProbeCounters:
    """Counts health probes by service and outcome."""

    def __init__(self) -> None:
        self._services: dict[str, OutcomeCounter] = {}

    def record(self, service: str, result: str, seconds: float) -> None:
        """Count one probe of the service's instances."""
        counter_for(self._services, service, lambda: OutcomeCounter(PROBE_BOUNDS_S)).record(result, seconds)

    @property
    def view(self) -> tuple[ProbeCount, ...]:
        """The counts of each service now."""
        return tuple(
            ProbeCount(name, dict(counter.results), counter.seconds.view) for name, counter in self._services.items()
        )


def counter_for(counters: dict[str, T], name: str, make: Callable[[], T]) -> T:
    """Return the counter of `name`; call `make` for a new one. Above `MAX_NAMES` names, return the shared counter `OTHERS`."""
    # Any client can register any name: names must not fill the memory, nor push out the counters of other names.
    counter = counters.get(name)
    if counter is None and len(counters) >= MAX_NAMES:
        name = OTHERS
        counter = counters.get(name)
    if counter is None:
        counter = counters[name] = make()
    return counter
