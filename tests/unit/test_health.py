"""The rules of health: thresholds hold exactly, whatever the order of results."""

from hypothesis import given
from hypothesis import strategies as st

from minikube.model import CheckState
from minikube.probe.health import (
    FIRST_RETRY_S,
    JITTER,
    NEXT_RETRY_S,
    Health,
    Outcome,
    ProbeResult,
    ProbeSettings,
    after_probe,
    lease_lapsed,
    lease_pass,
    new_health,
    resumed_health,
)

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
