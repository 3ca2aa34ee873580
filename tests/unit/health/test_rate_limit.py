"""ProbeRateLimiter: many fast probes share a rate, and instances with the default interval do not wait for them."""

import heapq

import pytest

from minikube.health.rate_limit import PROBES_PER_S, ProbeRateLimiter
from minikube.health.state import Health, ProbeSettings
from minikube.model import CheckState

PASSING, CRITICAL = CheckState.PASSING, CheckState.CRITICAL


def count_probes(count: int, state: CheckState, interval: float, seconds: float = 10.0) -> int:
    """Return how many probes `count` instances get in `seconds`, each wanting the next one an interval after the last."""
    limiter, settings, made = ProbeRateLimiter(), ProbeSettings(interval=interval), 0
    due = [0.0] * count
    while due[0] < seconds:
        now, made = due[0], made + 1
        heapq.heapreplace(due, limiter.next_probe_at(Health(state, now + interval), settings, now))
    return made


@pytest.mark.parametrize("count", [1, 40, 1_000])
@pytest.mark.parametrize("state", [PASSING, CRITICAL])
def test_many_fast_probes_share_a_rate_and_few_are_not_delayed(state: CheckState, count: int) -> None:
    wanted = count * 200
    made = count_probes(count, state, 0.05)
    assert made <= PROBES_PER_S * 10 + count
    assert made == pytest.approx(min(wanted, PROBES_PER_S * 10), rel=0.02, abs=count)


def test_passing_instances_with_the_default_interval_are_not_delayed() -> None:
    limiter = ProbeRateLimiter()
    for _ in range(int(5 * PROBES_PER_S)):
        limiter.next_probe_at(Health(CRITICAL, 100.0), ProbeSettings(), 100.0)
    assert limiter.next_probe_at(Health(PASSING, 105.0), ProbeSettings(interval=5.0), 100.0) == 105.0
    delayed = limiter.next_probe_at(Health(PASSING, 101.0), ProbeSettings(interval=1.0), 100.0)
    assert delayed == pytest.approx(105.0, abs=0.01)


def test_unused_slots_are_not_saved_up() -> None:
    limiter = ProbeRateLimiter()
    limiter.next_probe_at(Health(CRITICAL, 1.0), ProbeSettings(), 0.0)
    times = [
        limiter.next_probe_at(Health(CRITICAL, 1_000.0), ProbeSettings(), 1_000.0) for _ in range(int(PROBES_PER_S))
    ]
    assert times[-1] == pytest.approx(1_001.0)
