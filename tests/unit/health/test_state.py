"""The rules for check states and delays: thresholds hold exactly, whatever the order of results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.health.state import (
    FIRST_RETRY_S,
    JITTER,
    MIN_FORGET_S,
    NEXT_RETRY_S,
    Health,
    NextStep,
    Outcome,
    ProbeResult,
    ProbeSettings,
    after_critical_report,
    after_expiry,
    after_probe,
    after_renewal,
    initial_health,
    new_health,
    next_step,
    resumed_health,
    should_report,
)
from minikube.model import CheckState

PASS, FAIL, TIMEOUT, UNKNOWN = (ProbeResult(outcome, outcome.value) for outcome in Outcome)
DEFAULT = ProbeSettings()

INF = float("inf")

counts = st.integers(1, 4)
settings_ = st.builds(ProbeSettings, failures=counts, timeouts=counts, successes=counts)
outcomes = st.lists(st.sampled_from([PASS, FAIL, TIMEOUT]), max_size=40)


def walk(results: list[ProbeResult], settings: ProbeSettings = DEFAULT, extra_timeouts: int = 0) -> list[Health]:
    """Return the health before the first result and after each, a second apart."""
    states = [new_health(0.0, settings)]
    for number, result in enumerate(results, 1):
        states.append(
            after_probe(states[-1], result, settings, float(number), jitter=0.5, extra_timeouts=extra_timeouts)
        )
    return states


@given(settings_, outcomes, st.integers(0, 1))
def test_thresholds_are_exact(settings: ProbeSettings, results: list[ProbeResult], extra_timeouts: int) -> None:
    """The expected state comes from counting results, apart from the code under test."""
    state = CheckState.STARTING
    failures = timeouts = successes = 0
    for result, health in zip(results, walk(results, settings, extra_timeouts)[1:], strict=True):
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
            if state is CheckState.PASSING and (
                failures >= settings.failures or timeouts >= settings.timeouts + extra_timeouts
            ):
                state = CheckState.CRITICAL
        assert health.state is state


@given(settings_, outcomes)
def test_an_instance_is_due_to_be_forgotten_only_while_it_is_absent(
    settings: ProbeSettings, results: list[ProbeResult]
) -> None:
    """`forget_at` is set when it registers or becomes critical, stays until it passes, and is infinite while it passes."""
    before = new_health(0.0, settings)
    for number, health in enumerate(walk(results, settings)[1:], 1):
        if health.state is CheckState.PASSING:
            assert health.forget_at == float("inf")
        elif before.state is CheckState.PASSING:
            assert health.forget_at == number + settings.forget_after
        else:
            assert health.forget_at == before.forget_at
        before = health


@given(settings_, outcomes)
def test_a_probe_that_could_not_be_made_changes_only_the_time_of_the_next(
    settings: ProbeSettings, results: list[ProbeResult]
) -> None:
    before = walk(results, settings)[-1]
    after = after_probe(before, UNKNOWN, settings, 100.0, jitter=0.5)
    assert replace(after, due=before.due) == before
    assert 100.0 < after.due <= 100.0 + NEXT_RETRY_S


def test_a_failure_counts_at_once_and_a_timeout_is_probed_again() -> None:
    assert walk([PASS, FAIL])[-1].state is CheckState.CRITICAL
    assert walk([PASS, TIMEOUT])[-1].state is CheckState.PASSING
    assert walk([PASS, TIMEOUT, TIMEOUT])[-1].state is CheckState.CRITICAL
    assert walk([PASS, TIMEOUT, PASS, TIMEOUT])[-1].state is CheckState.PASSING


def test_the_next_probe_comes_sooner_after_a_miss() -> None:
    delays = [health.due - number for number, health in enumerate(walk([FAIL, FAIL, FAIL, PASS, TIMEOUT, TIMEOUT]))]
    assert delays == [0, FIRST_RETRY_S, NEXT_RETRY_S, NEXT_RETRY_S, DEFAULT.interval, FIRST_RETRY_S, NEXT_RETRY_S]


@given(st.floats(0, 1))
def test_the_interval_is_jittered(jitter: float) -> None:
    due = after_probe(new_health(0, DEFAULT), PASS, DEFAULT, 0.0, jitter=jitter).due
    assert DEFAULT.interval * (1 - JITTER) - 1e-9 <= due <= DEFAULT.interval * (1 + JITTER) + 1e-9


def test_a_short_interval_bounds_every_delay() -> None:
    quick = ProbeSettings(interval=0.1)
    for number, health in enumerate(walk([FAIL, FAIL, PASS, FAIL, TIMEOUT], quick)):
        assert health.due <= number + 0.1 * (1 + JITTER)


def test_a_stored_state_stays_until_the_first_probe() -> None:
    passing = resumed_health(CheckState.PASSING, 10.0, DEFAULT, jitter=0.5, forget_in=30.0)
    assert (passing.state, passing.due, passing.forget_at) == (CheckState.PASSING, 12.5, float("inf"))
    critical = resumed_health(CheckState.CRITICAL, 10.0, DEFAULT, jitter=0.5, forget_in=30.0)
    assert (critical.state, critical.due, critical.forget_at) == (CheckState.CRITICAL, 10.0, 40.0)


def test_a_lease_passes_while_renewed_and_is_critical_when_it_expires() -> None:
    settings = ProbeSettings(lease=3.0)
    alive = after_renewal(new_health(0.0, settings), settings, 0.0)
    assert (alive.state, alive.due) == (CheckState.PASSING, 3.0)
    expired = after_expiry(alive, settings, 3.0)
    assert (expired.state, expired.due) == (CheckState.CRITICAL, float("inf"))
    assert expired.forget_at == 3.0 + settings.forget_after
    assert after_renewal(expired, settings, 9.0).state is CheckState.PASSING
    reported = after_critical_report(alive, settings, 1.0)
    assert (reported.state, reported.due, reported.forget_at) == (CheckState.CRITICAL, INF, 1.0 + settings.forget_after)


STARTING, PASSING, CRITICAL = CheckState.STARTING, CheckState.PASSING, CheckState.CRITICAL


@pytest.mark.parametrize(
    ("state", "just_registered", "is_ttl", "forget_in", "due", "forget_at"),
    [
        (STARTING, True, False, 0.0, 100.0, 700.0),
        (STARTING, True, True, 0.0, 100.0, 700.0),
        (STARTING, False, False, 90.0, 100.0, 190.0),
        (STARTING, False, False, -5.0, 100.0, 100.0 + MIN_FORGET_S),
        (PASSING, True, False, 0.0, 100.0, INF),
        (PASSING, False, False, 0.0, 102.5, INF),
        (PASSING, False, True, 0.0, 115.0, INF),
        (CRITICAL, False, False, 50.0, 100.0, 150.0),
        (CRITICAL, False, True, 50.0, INF, 150.0),
        (CRITICAL, True, True, 50.0, INF, 700.0),
    ],
)
def test_an_instance_that_is_taken_over_keeps_its_state(
    state: CheckState, just_registered: bool, is_ttl: bool, forget_in: float, due: float, forget_at: float
) -> None:
    health = initial_health(
        state, 100.0, DEFAULT, just_registered=just_registered, is_ttl=is_ttl, forget_in=forget_in, jitter=0.5
    )
    assert health == Health(state, due, forget_at)


def test_an_absent_instance_is_never_kept_longer_than_forget_after() -> None:
    settings = ProbeSettings(forget_after=3.0)
    health = initial_health(CRITICAL, 0.0, settings, just_registered=False, is_ttl=False, forget_in=-1.0, jitter=0.5)
    assert health.forget_at == 3.0


@pytest.mark.parametrize(
    ("health", "is_ttl", "has_result", "was_paused", "step"),
    [
        (Health(CRITICAL, 99.0, 100.0), False, True, False, NextStep.FORGET),
        (Health(CRITICAL, INF, 100.0), True, True, True, NextStep.FORGET),
        (Health(CRITICAL, 99.0, 101.0), False, True, False, NextStep.PROBE),
        (Health(STARTING, 99.0, 101.0), False, False, False, NextStep.PROBE),
        (Health(STARTING, 99.0, 101.0), True, False, True, NextStep.START_LEASE),
        (Health(PASSING, 99.0), True, True, True, NextStep.EXTEND_LEASE),
        (Health(PASSING, 99.0), True, True, False, NextStep.EXPIRE_LEASE),
        (Health(PASSING, 101.0), True, True, False, NextStep.WAIT),
    ],
)
def test_the_next_step_of_an_instance_that_is_due(
    health: Health, is_ttl: bool, has_result: bool, was_paused: bool, step: NextStep
) -> None:
    assert next_step(health, 100.0, is_ttl=is_ttl, has_result=has_result, was_paused=was_paused) is step


def test_a_second_miss_and_a_new_reason_are_reported_but_not_every_output() -> None:
    once, twice = Health(STARTING, 0.0, failures=1), Health(STARTING, 0.0, failures=1, timeouts=1)
    assert not should_report(once, "", "connection refused")
    assert should_report(twice, "", "connection refused")
    assert not should_report(twice, "503 Unavailable: at 10:01", "503 Unavailable: at 10:02")
    assert should_report(twice, "503 Unavailable", "404 Not Found")
