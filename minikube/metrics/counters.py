"""What is counted on the way and read when someone asks (floor 0): histograms, and the shapes that carry them.

The registry counts its calls and probes and tells them through `Discovery.Status`; the supervisor counts its own
probes and the starts and ends of its instances; `/metrics` shows all of it. Counters only grow while a process lives, times are
seconds. It refuses to look at a clock, and to grow without bound: `NAMES_KEPT` names are counted each by
itself, further ones together.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

CALL_BOUNDS_S = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
PROBE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
START_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

NAMES_KEPT = 1_024
OTHERS = "(other)"
"""What further names are counted under; no service can be called so."""

Counted = TypeVar("Counted")


class HistogramView(Struct, frozen=True, rename="pascal"):
    """`counts[i]` observations were above `bounds[i - 1]` and at most `bounds[i]`; one count more than bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class CallCount(Struct, frozen=True, rename="pascal"):
    """Calls of one RPC method. `results` are counts by outcome: `ok`, or an error's name such as `not_found`."""

    method: str
    results: dict[str, int]
    seconds: HistogramView


class ProbeCount(Struct, frozen=True, rename="pascal"):
    """Probes of one service's instances. `results` are counts by outcome: `pass`, `fail`, `timeout`."""

    service: str
    results: dict[str, int]
    seconds: HistogramView


class RegistryCounters(Struct, frozen=True, rename="pascal"):
    """What a registry counted since its start, as `Discovery.Status` tells it where it is asked to."""

    calls: tuple[CallCount, ...] = ()
    probes: tuple[ProbeCount, ...] = ()


class RegistryStatus(Struct, frozen=True, rename="pascal"):
    """What `/metrics` shows of a `Discovery.Status` with counters. `uptime` is seconds;
    `clients` is known to who asks as one of them."""

    uptime: float
    instances: int
    revision: int
    clients: int | None
    stale: bool
    counters: RegistryCounters


class Histogram:
    """Observations in buckets with fixed upper bounds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    @property
    def view(self) -> HistogramView:
        return HistogramView(self._bounds, tuple(self._counts), self._sum)


class OutcomeCounter:
    """Counts by outcome, and how long they took."""

    __slots__ = ("results", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.results: dict[str, int] = {}
        self.seconds = Histogram(bounds)

    def note(self, result: str, seconds: float, times: int = 1) -> None:
        self.results[result] = self.results.get(result, 0) + times
        self.seconds.observe(seconds, times)


class ProbeCounters:
    """Probes by service."""

    def __init__(self) -> None:
        self._services: dict[str, OutcomeCounter] = {}

    def note(self, service: str, result: str, seconds: float) -> None:
        counter_for(self._services, service, lambda: OutcomeCounter(PROBE_BOUNDS_S)).note(result, seconds)

    @property
    def view(self) -> tuple[ProbeCount, ...]:
        return tuple(ProbeCount(name, dict(one.results), one.seconds.view) for name, one in self._services.items())


def counter_for(table: dict[str, Counted], name: str, make: Callable[[], Counted]) -> Counted:
    """What is counted under `name`. Names come from strangers, who must not fill the memory and not reset others' counters."""
    found = table.get(name)
    if found is None and len(table) >= NAMES_KEPT:
        name = OTHERS
        found = table.get(name)
    if found is None:
        found = table[name] = make()
    return found
