"""The rules of restarts, in tables and for any history."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest import RestartSpec
from minikube.model import ProcessState
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import JITTER, InstanceState, backoff, died, passed, start
from minikube.supervisor.runtime.exit_status import Exit

USUAL = RestartSpec()
FAILED, CLEAN, KILLED = Exit(1), Exit(0), Exit(-9)


def lived(
    life: InstanceState, began: float, seconds: float, policy: RestartSpec = USUAL, end: Exit = FAILED, *, well: bool
) -> InstanceState:
    """One whole life: started, perhaps well, and dead after `seconds`."""
    life = start(life, began)
    if well:
        life = passed(life)
    return died(life, policy, end, began + seconds, 0.0)


def waits(lives: Sequence[tuple[float, bool]], policy: RestartSpec = USUAL) -> list[float]:
    """What is waited after each of (seconds lived, was well)."""
    life, now, found = InstanceState(), 0.0, []
    for seconds, well in lives:
        life = lived(life, now, seconds, policy, well=well)
        now += seconds
        found.append(round(life.next_try - now, 6))
        now = life.next_try
    return found


def test_a_well_one_is_restarted_at_once_then_later_and_later() -> None:
    assert waits([(2, True)] * 10) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_long_life_forgives_the_short_ones_before_it() -> None:
    assert waits([(2, True), (2, True), (2, True), (60, True), (2, True)]) == [0, 0.5, 1, 0, 0.5]
    assert waits([(2, True), (2, True), (10, True), (2, True)], RestartSpec(reset_after=10)) == [0, 0.5, 0, 0.5]


def test_a_failed_start_is_never_repeated_at_once_and_the_fifth_in_a_row_is_fatal() -> None:
    life = InstanceState()
    for number in range(1, 5):
        life = lived(life, 0.0, 0.1, well=False)
        assert (life.state, life.failed_starts) == (ProcessState.BACKOFF, number)
        assert life.reason == f"exit 1 before it was well ({number} of 5)"
        assert life.next_try > 0.1
    life = lived(life, 0.0, 0.1, well=False)
    assert (life.state, life.reason, life.exit) == (ProcessState.FATAL, "exit 1: 5 failed starts in a row", Exit(1))


def test_being_well_once_ends_the_row_of_failed_starts() -> None:
    life = InstanceState()
    for _ in range(4):
        life = lived(life, 0.0, 0.1, well=False)
    life = lived(life, 0.0, 2.0, well=True)
    for _ in range(4):
        life = lived(life, 0.0, 0.1, well=False)
        assert life.state is ProcessState.BACKOFF


def test_a_limit_within_a_window_makes_a_well_one_fatal_too() -> None:
    policy = RestartSpec(max_restarts=3, window=100, delay=0, reset_after=1)
    life, now = InstanceState(), 0.0
    for _ in range(3):
        life = lived(life, now, 10, policy, well=True)
        now += 10
        assert life.state is ProcessState.BACKOFF
    fatal = lived(life, now, 10, policy, well=True)
    assert (fatal.state, fatal.reason) == (ProcessState.FATAL, "exit 1: restarted 3 times within 1m40s")
    late = lived(life, now, 81, policy, well=True)
    assert late.state is ProcessState.BACKOFF


@pytest.mark.parametrize(
    ("policy", "end", "state", "completed"),
    [
        ("always", CLEAN, ProcessState.BACKOFF, False),
        ("always", FAILED, ProcessState.BACKOFF, False),
        ("on-failure", CLEAN, ProcessState.EXITED, True),
        ("on-failure", FAILED, ProcessState.BACKOFF, False),
        ("on-failure", KILLED, ProcessState.BACKOFF, False),
        ("never", CLEAN, ProcessState.EXITED, True),
        ("never", FAILED, ProcessState.EXITED, False),
        ("never", KILLED, ProcessState.EXITED, False),
    ],
)
def test_what_follows_an_end(policy: str, end: Exit, state: ProcessState, completed: bool) -> None:
    life = lived(InstanceState(), 0.0, 2.0, RestartSpec(policy=policy), end, well=True)  # type: ignore[arg-type]
    assert (life.state, life.completed, life.exit) == (state, completed, end)


@pytest.mark.parametrize(("status", "good"), [(0, True), (143, True), (-15, True), (1, False), (-9, False), (3, True)])
def test_success_is_what_the_manifest_says_with_signals_as_a_shell_tells_them(status: int, good: bool) -> None:
    policy = RestartSpec(policy="on-failure", success=(0, 3, 143))
    life = lived(InstanceState(), 0.0, 2.0, policy, Exit(status), well=True)
    assert life.completed is good
    assert (life.state is ProcessState.EXITED) is good


def test_one_that_was_ended_for_failing_its_check_has_died_and_never_succeeded() -> None:
    life = passed(start(InstanceState(), 0.0))
    ended = died(life, RestartSpec(policy="on-failure"), CLEAN, 5.0, 0.0, "check failed 3 times in a row")
    assert (ended.state, ended.reason) == (ProcessState.BACKOFF, "check failed 3 times in a row")
    assert not died(life, RestartSpec(policy="never"), CLEAN, 5.0, 0.0, "check failed").completed


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (RestartSpec("always"), ProcessState.BACKOFF),
        (RestartSpec("on-failure"), ProcessState.BACKOFF),
        (RestartSpec("never"), ProcessState.FATAL),
    ],
)
def test_a_taken_port_is_a_failed_start_whatever_the_policy(policy: RestartSpec, state: ProcessState) -> None:
    life = lifecycle.refused(InstanceState(), policy, "port 80 is taken by pid 1", 0.0, 0.0)
    assert (life.state, life.reason, life.exit) == (state, "port 80 is taken by pid 1", None)


def test_a_command_that_cannot_be_executed_is_fatal_at_once() -> None:
    assert lifecycle.cannot_execute(InstanceState(), "command not found: x").state is ProcessState.FATAL


def test_a_starved_machine_is_tried_again_for_ever() -> None:
    life = InstanceState()
    for _ in range(50):
        life = lifecycle.starved(life, RestartSpec(limit=1, max_restarts=1), "no process left", 10.0, 1.0)
        assert life.state is ProcessState.BACKOFF
        assert 10 < life.next_try <= 10 + 30 * (1 + JITTER)
    assert life.failed_starts == 0


def test_a_stop_forgives_and_keeps_the_count_of_restarts() -> None:
    life = lived(lived(InstanceState(), 0.0, 1.0, well=False), 2.0, 3.0, well=True)
    assert lifecycle.stopped(life, Exit(-15)) == InstanceState(restarts=2, exit=Exit(-15))
    assert lifecycle.restarted(life).restarts == 3


@pytest.mark.parametrize("state", list(ProcessState))
def test_who_is_asked_to_run_begins_again_what_had_ended_by_itself(state: ProcessState) -> None:
    life = InstanceState(state, restarts=3, failed_starts=2, next_try=9.0, exit=Exit(1), reason="exit 1")
    over = state in (ProcessState.BACKOFF, ProcessState.EXITED, ProcessState.FATAL)
    begins = InstanceState(ProcessState.PENDING, restarts=3, exit=Exit(1))
    assert lifecycle.forgiven(life, DesiredState()) == (begins if over else life)
    assert lifecycle.forgiven(life, DesiredState(removed=True)) == life


def test_the_worst_end_is_told_as_a_shell_tells_it() -> None:
    """One that was killed for its memory is no other than one that was killed."""
    starved = InstanceState(exit=Exit(-9, "out of memory, limits.memory"))
    assert lifecycle.worst_end([InstanceState(exit=Exit(3)), starved]) == (
        "signal KILL (out of memory, limits.memory)",
        137,
    )
    assert lifecycle.worst_end([InstanceState(exit=Exit(0)), lifecycle.cannot_execute(InstanceState(), "no x")]) == (
        "no x",
        1,
    )


def test_a_check_that_passes_when_nothing_runs_changes_nothing() -> None:
    for state in set(ProcessState) - {ProcessState.STARTING, ProcessState.RUNNING}:
        life = InstanceState(state=state)
        assert passed(life) is life


policies = st.builds(
    RestartSpec,
    policy=st.sampled_from(["always", "on-failure", "never"]),
    delay=st.floats(0, 5),
    max_delay=st.floats(5, 60),
    limit=st.integers(1, 6),
    reset_after=st.floats(1, 100),
    max_restarts=st.integers(0, 5),
    window=st.floats(1, 1000),
    success=st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
)
one_life = st.tuples(st.floats(0, 200), st.booleans(), st.integers(-15, 255))


@given(policies, st.lists(one_life, max_size=30), st.floats(-1, 1))
def test_any_history(policy: RestartSpec, lives: list[tuple[float, bool, int]], jitter: float) -> None:
    """Told by a model that looks at the whole history, which the state machine never sees."""
    life, now = InstanceState(), 0.0
    restarts: list[float] = []
    failed = quick = 0
    for seconds, well, status in lives:
        life = start(life, now)
        life = passed(life) if well else life
        now += seconds
        end = Exit(status)
        life = died(life, policy, end, now, jitter)
        good = (status if status >= 0 else 128 - status) in policy.success
        assert life.exit == end
        if policy.policy == "never" or (good and policy.policy == "on-failure"):
            assert (life.state, life.completed) == (ProcessState.EXITED, good)
            return
        failed = 0 if well else failed + 1
        in_window = [when for when in restarts if now - when < policy.window]
        if failed >= policy.limit or 0 < policy.max_restarts <= len(in_window):
            assert life.state is ProcessState.FATAL
            return
        restarts.append(now)
        quick = 0 if well and seconds >= policy.reset_after else quick
        step = quick if well else max(quick, 1)
        quick = step + 1
        assert (life.state, life.restarts) == (ProcessState.BACKOFF, len(restarts))
        assert life.next_try == pytest.approx(now + backoff(policy, step, jitter))
        now = life.next_try


@given(policies, st.floats(-1, 1))
def test_the_delay_grows_to_its_cap_and_no_further(policy: RestartSpec, jitter: float) -> None:
    delays = [backoff(policy, step, jitter) for step in range(80)]
    assert delays[0] == 0
    assert all(one <= other for one, other in pairwise(delays[1:]))
    assert max(delays) <= policy.max_delay * (1 + JITTER)
    assert backoff(policy, 10**9, jitter) == delays[-1]
