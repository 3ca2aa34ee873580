"""Thousands who want to be asked at once share a rate; whoever asks for no more than usual does not wait for them."""

import heapq

import pytest

from minikube.health.rate_limit import PROBES_PER_S, ProbeRateLimiter
from minikube.health.state import Health, ProbeSettings
from minikube.model import CheckState

PASSING, CRITICAL = CheckState.PASSING, CheckState.CRITICAL


def asked(count: int, state: CheckState, interval: float, seconds: float = 10.0) -> int:
    """How many probes so many make in that time, each wanting the next one an interval after the last."""
    pace, settings, made = ProbeRateLimiter(), ProbeSettings(interval=interval), 0
    due = [0.0] * count
    while due[0] < seconds:
        now, made = due[0], made + 1
        heapq.heapreplace(due, pace.due(Health(state, now + interval), settings, now))
    return made


@pytest.mark.parametrize("count", [1, 40, 1_000])
@pytest.mark.parametrize("state", [PASSING, CRITICAL])
def test_many_share_a_rate_that_few_do_not_notice(state: CheckState, count: int) -> None:
    wanted = count * 200
    made = asked(count, state, 0.05)
    assert made <= PROBES_PER_S * 10 + count
    assert made == pytest.approx(min(wanted, PROBES_PER_S * 10), rel=0.02, abs=count)


def test_the_usual_is_not_held_up() -> None:
    pace = ProbeRateLimiter()
    for _ in range(int(5 * PROBES_PER_S)):
        pace.due(Health(CRITICAL, 100.0), ProbeSettings(), 100.0)
    assert pace.due(Health(PASSING, 105.0), ProbeSettings(interval=5.0), 100.0) == 105.0
    assert pace.due(Health(PASSING, 101.0), ProbeSettings(interval=1.0), 100.0) == pytest.approx(105.0, abs=0.01)


def test_turns_that_nobody_took_are_not_saved_up() -> None:
    pace = ProbeRateLimiter()
    pace.due(Health(CRITICAL, 1.0), ProbeSettings(), 0.0)
    turns = [pace.due(Health(CRITICAL, 1_000.0), ProbeSettings(), 1_000.0) for _ in range(int(PROBES_PER_S))]
    assert turns[-1] == pytest.approx(1_001.0)
