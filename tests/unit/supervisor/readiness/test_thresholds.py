"""What the supervisor's own probes add up to: thresholds hold exactly, for any order of results."""

from hypothesis import given
from hypothesis import strategies as st

from minikube.health.state import Outcome, ProbeResult
from minikube.manifest import HealthSpec
from minikube.model import CheckState
from minikube.supervisor.readiness.thresholds import ProbeStatus, is_hung, new_probe_status, update_probe_status

counts = st.integers(1, 4)
specs = st.builds(
    HealthSpec,
    kind=st.just("command"),
    interval=st.floats(0.05, 10),
    failures=counts,
    timeouts=counts,
    successes=counts,
    start_period=st.floats(0, 20),
    restart_after=st.integers(0, 5),
)
outcomes = st.lists(st.sampled_from(list(Outcome)), max_size=40)


def walk(spec: HealthSpec, results: list[Outcome]) -> list[tuple[float, ProbeStatus]]:
    """Return the status after each probe; each is made when it is due, and answered at once."""
    status, found = new_probe_status(spec, 0.0), []
    for outcome in results:
        now = status.due
        status = update_probe_status(
            status, ProbeResult(outcome, outcome.value), spec, started=0.0, now=now, jitter=0.5
        )
        found.append((now, status))
    return found


@given(specs, outcomes)
def test_thresholds_and_restarts_are_exact(spec: HealthSpec, results: list[Outcome]) -> None:
    """Compare with a count of the history from its end."""
    state, passed = CheckState.STARTING, False
    for number, (now, status) in enumerate(walk(spec, results), 1):
        history = [outcome for outcome in results[:number] if outcome is not Outcome.UNKNOWN]
        if results[number - 1] is Outcome.UNKNOWN:
            assert status.state is state
            continue
        since = history[len(history) - history[::-1].index(Outcome.PASS) :] if Outcome.PASS in history else history
        if history[-1] is Outcome.PASS:
            run = len(history) - max((at for at, one in enumerate(history, 1) if one is not Outcome.PASS), default=0)
            if state is not CheckState.CRITICAL or run >= spec.successes:
                state, passed = CheckState.PASSING, True
        elif state is CheckState.PASSING:
            fallen = since.count(Outcome.FAIL) >= spec.failures or since.count(Outcome.TIMEOUT) >= spec.timeouts
            state = CheckState.CRITICAL if fallen else state
        assert status.state is state
        if passed:
            assert status.misses == len(since)
        assert is_hung(status, spec) is (0 < spec.restart_after <= status.misses)
        assert status.due > now


def test_failures_before_the_first_pass_count_from_the_start_period_on() -> None:
    spec = HealthSpec("command", interval=1.0, start_period=3.0, restart_after=2)
    misses = [(now, status.misses) for now, status in walk(spec, [Outcome.TIMEOUT] * 6)]
    assert misses == [(0, 0), (0.25, 0), (1.25, 0), (2.25, 0), (3.25, 1), (4.25, 2)]


def test_a_pass_ends_the_start_period() -> None:
    spec = HealthSpec("command", start_period=1000.0, restart_after=1)
    states = walk(spec, [Outcome.FAIL, Outcome.PASS, Outcome.FAIL])
    assert [is_hung(status, spec) for _, status in states] == [False, False, True]


def test_an_interval_below_a_second_is_kept() -> None:
    spec = HealthSpec("command", interval=0.2)
    times = [now for now, _ in walk(spec, [Outcome.PASS] * 4)]
    assert [round(time, 6) for time in times] == [0, 0.2, 0.4, 0.6]
    times = [now for now, _ in walk(spec, [Outcome.FAIL] * 4)]
    assert [round(time, 6) for time in times] == [0, 0.2, 0.4, 0.6]
