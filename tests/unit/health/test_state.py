"""The rules of health: thresholds hold exactly, whatever the order of results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.health.state import (
    FIRST_RETRY_S,
    GRACE_S,
    JITTER,
    NEXT_RETRY_S,
    Health,
    Outcome,
    ProbeResult,
    ProbeSettings,
    Step,
    after_probe,
    first_health,
    is_news,
    lease_lapsed,
    lease_pass,
    new_health,
    next_step,
    resumed_health,
)
from minikube.model import CheckState

PASS, FAIL, TIMEOUT = (ProbeResult(outcome, outcome.value) for outcome in Outcome)
USUAL = ProbeSettings()

counts = st.integers(1, 4)
settings_ = st.builds(ProbeSettings, failures=counts, timeouts=counts, successes=counts)
outcomes = st.lists(st.sampled_from([PASS, FAIL, TIMEOUT]), max_size=40)


def walk(results: list[ProbeResult], settings: ProbeSettings = USUAL, extra: int = 0) -> list[Health]:
    """Every state on the way, a second apart."""
    states = [new_health(0.0, settings)]
    for number, result in enumerate(results, 1):
        states.append(after_probe(states[-1], result, settings, float(number), jitter=0.5, extra=extra))
    return states


@given(settings_, outcomes, st.integers(0, 1))
def test_thresholds_are_exact(settings: ProbeSettings, results: list[ProbeResult], extra: int) -> None:
    """Told by counting the history from its end, which the state machine never sees."""
    state = CheckState.STARTING
    failures = timeouts = successes = 0
    for result, health in zip(results, walk(results, settings, extra)[1:], strict=True):
        if result is PASS:
            failures = timeouts = 0
            successes += 1
            if state is CheckState.STARTING or (state is CheckState.CRITICAL and successes >= settings.successes):
                state = CheckState.PASSING
            if state is CheckState.PASSING:
                successes = 0
        else:
            successes = 0
            failures += result is FAIL
            timeouts += result is TIMEOUT
            if state is CheckState.PASSING and (failures >= settings.failures or timeouts >= settings.timeouts + extra):
                state = CheckState.CRITICAL
        assert health.state is state


@given(settings_, outcomes)
def test_an_absent_instance_is_forgotten_from_its_fall_on(settings: ProbeSettings, results: list[ProbeResult]) -> None:
    """`forget_at` is set when it falls (or is registered), stays while it is away, and is off while it passes."""
    before = new_health(0.0, settings)
    for number, health in enumerate(walk(results, settings)[1:], 1):
        if health.state is CheckState.PASSING:
            assert health.forget_at == float("inf")
        elif before.state is CheckState.PASSING:
            assert health.forget_at == number + settings.forget_after
        else:
            assert health.forget_at == before.forget_at
        before = health


def test_a_refusal_counts_at_once_and_a_time_out_is_asked_again() -> None:
    assert walk([PASS, FAIL])[-1].state is CheckState.CRITICAL
    assert walk([PASS, TIMEOUT])[-1].state is CheckState.PASSING
    assert walk([PASS, TIMEOUT, TIMEOUT])[-1].state is CheckState.CRITICAL
    assert walk([PASS, TIMEOUT, PASS, TIMEOUT])[-1].state is CheckState.PASSING


def test_the_next_probe_comes_sooner_after_a_miss() -> None:
    delays = [health.due - number for number, health in enumerate(walk([FAIL, FAIL, FAIL, PASS, TIMEOUT, TIMEOUT]))]
    assert delays == [0, FIRST_RETRY_S, NEXT_RETRY_S, NEXT_RETRY_S, USUAL.interval, FIRST_RETRY_S, NEXT_RETRY_S]


@given(st.floats(0, 1))
def test_the_interval_is_jittered(jitter: float) -> None:
    due = after_probe(new_health(0, USUAL), PASS, USUAL, 0.0, jitter=jitter).due
    assert USUAL.interval * (1 - JITTER) - 1e-9 <= due <= USUAL.interval * (1 + JITTER) + 1e-9


def test_a_short_interval_bounds_every_delay() -> None:
    quick = ProbeSettings(interval=0.1)
    for number, health in enumerate(walk([FAIL, FAIL, PASS, FAIL, TIMEOUT], quick)):
        assert health.due <= number + 0.1 * (1 + JITTER)


def test_another_observers_verdict_stands_until_probed() -> None:
    passing = resumed_health(CheckState.PASSING, 10.0, USUAL, jitter=0.5, grace=30.0)
    assert (passing.state, passing.due, passing.forget_at) == (CheckState.PASSING, 12.5, float("inf"))
    critical = resumed_health(CheckState.CRITICAL, 10.0, USUAL, jitter=0.5, grace=30.0)
    assert (critical.state, critical.due, critical.forget_at) == (CheckState.CRITICAL, 10.0, 40.0)


def test_a_lease_passes_while_renewed_and_lapses_at_once() -> None:
    settings = ProbeSettings(lease=3.0)
    alive = lease_pass(settings, new_health(0.0, settings), 0.0)
    assert (alive.state, alive.due) == (CheckState.PASSING, 3.0)
    lapsed = lease_lapsed(settings, alive, 3.0)
    assert (lapsed.state, lapsed.due) == (CheckState.CRITICAL, float("inf"))
    assert lapsed.forget_at == 3.0 + settings.forget_after
    assert lease_pass(settings, lapsed, 9.0).state is CheckState.PASSING


INF = float("inf")
STARTING, PASSING, CRITICAL = CheckState.STARTING, CheckState.PASSING, CheckState.CRITICAL


@pytest.mark.parametrize(
    ("state", "fresh", "leased", "left", "due", "forget_at"),
    [
        (STARTING, True, False, 0.0, 100.0, 700.0),
        (STARTING, True, True, 0.0, 100.0, 700.0),
        (STARTING, False, False, 90.0, 100.0, 190.0),
        (STARTING, False, False, -5.0, 100.0, 100.0 + GRACE_S),
        (PASSING, True, False, 0.0, 100.0, INF),
        (PASSING, False, False, 0.0, 102.5, INF),
        (PASSING, False, True, 0.0, 115.0, INF),
        (CRITICAL, False, False, 50.0, 100.0, 150.0),
        (CRITICAL, False, True, 50.0, INF, 150.0),
        (CRITICAL, True, True, 50.0, INF, 700.0),
    ],
)
def test_who_is_taken_up_stands_where_it_stood(
    state: CheckState, fresh: bool, leased: bool, left: float, due: float, forget_at: float
) -> None:
    health = first_health(state, 100.0, USUAL, fresh=fresh, leased=leased, left=left, jitter=0.5)
    assert health == Health(state, due, forget_at)


def test_no_longer_than_it_asked_for_is_an_absent_one_known() -> None:
    settings = ProbeSettings(forget_after=3.0)
    assert first_health(CRITICAL, 0.0, settings, fresh=False, leased=False, left=-1.0, jitter=0.5).forget_at == 3.0


@pytest.mark.parametrize(
    ("health", "leased", "admitted", "deaf", "step"),
    [
        (Health(CRITICAL, 99.0, 100.0), False, True, False, Step.FORGET),
        (Health(CRITICAL, INF, 100.0), True, True, True, Step.FORGET),
        (Health(CRITICAL, 99.0, 101.0), False, True, False, Step.PROBE),
        (Health(STARTING, 99.0, 101.0), False, False, False, Step.PROBE),
        (Health(STARTING, 99.0, 101.0), True, False, True, Step.ADMIT),
        (Health(PASSING, 99.0), True, True, True, Step.EXCUSE),
        (Health(PASSING, 99.0), True, True, False, Step.LAPSE),
        (Health(PASSING, 101.0), True, True, False, Step.WAIT),
    ],
)
def test_what_is_done_when_the_time_has_come(
    health: Health, leased: bool, admitted: bool, deaf: bool, step: Step
) -> None:
    assert next_step(health, 100.0, leased=leased, admitted=admitted, deaf=deaf) is step


def test_watchers_hear_a_second_miss_and_another_reason_but_not_each_word() -> None:
    once, twice = Health(STARTING, 0.0, failures=1), Health(STARTING, 0.0, failures=1, timeouts=1)
    assert not is_news(once, "", "connection refused")
    assert is_news(twice, "", "connection refused")
    assert not is_news(twice, "503 Unavailable: at 10:01", "503 Unavailable: at 10:02")
    assert is_news(twice, "503 Unavailable", "404 Not Found")
