"""The lifecycle of an instance: restarts, delays and failures, in tables and for any history."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minikube.manifest import RestartSpec
from minikube.model import ProcessState
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import (
    JITTER,
    InstanceState,
    backoff_delay,
    on_exit,
    on_healthy,
    on_started,
)
from minikube.supervisor.runtime.exit_status import Exit

USUAL = RestartSpec()
FAILED, CLEAN, KILLED = Exit(1), Exit(0), Exit(-9)


def lived(
    state: InstanceState,
    began: float,
    seconds: float,
    policy: RestartSpec = USUAL,
    end: Exit = FAILED,
    *,
    healthy: bool,
) -> InstanceState:
    """Return the state after a whole process: started, perhaps healthy, and exited after `seconds`."""
    state = on_started(state, began)
    if healthy:
        state = on_healthy(state)
    return on_exit(state, policy, end, began + seconds, 0.0)


def waits(lives: Sequence[tuple[float, bool]], policy: RestartSpec = USUAL) -> list[float]:
    """Return the delay after each process, given as (seconds lived, was healthy)."""
    state, now, found = InstanceState(), 0.0, []
    for seconds, healthy in lives:
        state = lived(state, now, seconds, policy, healthy=healthy)
        now += seconds
        found.append(round(state.next_start - now, 6))
        now = state.next_start
    return found


def test_a_healthy_instance_restarts_at_once_then_with_growing_delays() -> None:
    assert waits([(2, True)] * 10) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_long_run_resets_the_delay() -> None:
    assert waits([(2, True), (2, True), (2, True), (60, True), (2, True)]) == [0, 0.5, 1, 0, 0.5]
    assert waits([(2, True), (2, True), (10, True), (2, True)], RestartSpec(reset_after=10)) == [0, 0.5, 0, 0.5]


def test_a_failed_start_is_always_delayed_and_the_fifth_in_a_row_is_fatal() -> None:
    state = InstanceState()
    for number in range(1, 5):
        state = lived(state, 0.0, 0.1, healthy=False)
        assert (state.process_state, state.failed_starts) == (ProcessState.BACKOFF, number)
        assert state.reason == f"exit 1 (failed start {number} of 5)"
        assert state.next_start > 0.1
    state = lived(state, 0.0, 0.1, healthy=False)
    assert (state.process_state, state.reason, state.exit) == (
        ProcessState.FATAL,
        "exit 1: 5 failed starts in a row",
        Exit(1),
    )


def test_becoming_healthy_resets_the_count_of_failed_starts() -> None:
    state = InstanceState()
    for _ in range(4):
        state = lived(state, 0.0, 0.1, healthy=False)
    state = lived(state, 0.0, 2.0, healthy=True)
    for _ in range(4):
        state = lived(state, 0.0, 0.1, healthy=False)
        assert state.process_state is ProcessState.BACKOFF


def test_max_restarts_within_the_window_makes_a_healthy_instance_fatal() -> None:
    policy = RestartSpec(max_restarts=3, window=100, delay=0, reset_after=1)
    state, now = InstanceState(), 0.0
    for _ in range(3):
        state = lived(state, now, 10, policy, healthy=True)
        now += 10
        assert state.process_state is ProcessState.BACKOFF
    fatal = lived(state, now, 10, policy, healthy=True)
    assert (fatal.process_state, fatal.reason) == (ProcessState.FATAL, "exit 1: restarted 3 times within 1m40s")
    late = lived(state, now, 81, policy, healthy=True)
    assert late.process_state is ProcessState.BACKOFF


@pytest.mark.parametrize(
    ("policy", "end", "process_state", "completed"),
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
def test_the_state_after_an_exit_for_each_policy(
    policy: str, end: Exit, process_state: ProcessState, completed: bool
) -> None:
    state = lived(InstanceState(), 0.0, 2.0, RestartSpec(policy=policy), end, healthy=True)  # type: ignore[arg-type]
    assert (state.process_state, state.completed, state.exit) == (process_state, completed, end)


@pytest.mark.parametrize(("status", "good"), [(0, True), (143, True), (-15, True), (1, False), (-9, False), (3, True)])
def test_the_manifest_lists_the_exit_codes_of_success_with_signals_as_in_a_shell(status: int, good: bool) -> None:
    policy = RestartSpec(policy="on-failure", success=(0, 3, 143))
    state = lived(InstanceState(), 0.0, 2.0, policy, Exit(status), healthy=True)
    assert state.completed is good
    assert (state.process_state is ProcessState.EXITED) is good


def test_an_instance_ended_for_failing_its_check_counts_as_failed_whatever_its_exit_code() -> None:
    state = on_healthy(on_started(InstanceState(), 0.0))
    ended = on_exit(state, RestartSpec(policy="on-failure"), CLEAN, 5.0, 0.0, "check failed 3 times in a row")
    assert (ended.process_state, ended.reason) == (ProcessState.BACKOFF, "check failed 3 times in a row")
    assert not on_exit(state, RestartSpec(policy="never"), CLEAN, 5.0, 0.0, "check failed").completed


@pytest.mark.parametrize(
    ("policy", "process_state"),
    [
        (RestartSpec("always"), ProcessState.BACKOFF),
        (RestartSpec("on-failure"), ProcessState.BACKOFF),
        (RestartSpec("never"), ProcessState.FATAL),
    ],
)
def test_a_taken_port_is_a_failed_start_whatever_the_policy(policy: RestartSpec, process_state: ProcessState) -> None:
    state = lifecycle.on_start_failed(InstanceState(), policy, "port 80 is taken by pid 1", 0.0, 0.0)
    assert (state.process_state, state.reason, state.exit) == (process_state, "port 80 is taken by pid 1", None)


def test_a_command_that_cannot_be_executed_is_fatal_at_once() -> None:
    assert lifecycle.on_not_executable(InstanceState(), "command not found: x").process_state is ProcessState.FATAL


def test_a_shortage_of_the_machine_is_retried_for_ever() -> None:
    state = InstanceState()
    for _ in range(50):
        state = lifecycle.on_resource_exhausted(
            state, RestartSpec(limit=1, max_restarts=1), "no process left", 10.0, 1.0
        )
        assert state.process_state is ProcessState.BACKOFF
        assert 10 < state.next_start <= 10 + 30 * (1 + JITTER)
    assert state.failed_starts == 0


def test_a_stop_resets_failures_and_keeps_the_count_of_restarts() -> None:
    state = lived(lived(InstanceState(), 0.0, 1.0, healthy=False), 2.0, 3.0, healthy=True)
    assert lifecycle.on_stopped(state, Exit(-15)) == InstanceState(restarts=2, exit=Exit(-15))
    assert lifecycle.on_restart_requested(state).restarts == 3


@pytest.mark.parametrize("process_state", list(ProcessState))
def test_a_requested_start_resets_an_instance_that_had_ended_by_itself(process_state: ProcessState) -> None:
    state = InstanceState(process_state, restarts=3, failed_starts=2, next_start=9.0, exit=Exit(1), reason="exit 1")
    over = process_state in (ProcessState.BACKOFF, ProcessState.EXITED, ProcessState.FATAL)
    begins = InstanceState(ProcessState.PENDING, restarts=3, exit=Exit(1))
    assert lifecycle.reset_failures(state, DesiredState()) == (begins if over else state)
    assert lifecycle.reset_failures(state, DesiredState(removed=True)) == state


def test_a_passing_check_changes_nothing_where_no_process_runs() -> None:
    for process_state in set(ProcessState) - {ProcessState.STARTING, ProcessState.RUNNING}:
        state = InstanceState(process_state)
        assert on_healthy(state) is state


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
process_run = st.tuples(st.floats(0, 200), st.booleans(), st.integers(-15, 255))


@given(policies, st.lists(process_run, max_size=30), st.floats(-1, 1))
@example(RestartSpec(delay=3.0, limit=2, reset_after=1.00001), [(0.0, False, 0), (1.00001, True, 0)], 0.0)
def test_any_history_gives_the_state_that_a_model_computes(
    policy: RestartSpec, lives: list[tuple[float, bool, int]], jitter: float
) -> None:
    """Compare with a model that looks at the whole history, which the state machine never sees."""
    state, now = InstanceState(), 0.0
    restarts: list[float] = []
    failed = quick = 0
    for seconds, healthy, status in lives:
        began, now = now, now + seconds
        state = on_started(state, began)
        state = on_healthy(state) if healthy else state
        end = Exit(status)
        state = on_exit(state, policy, end, now, jitter)
        good = (status if status >= 0 else 128 - status) in policy.success
        assert state.exit == end
        if policy.policy == "never" or (good and policy.policy == "on-failure"):
            assert (state.process_state, state.completed) == (ProcessState.EXITED, good)
            return
        failed = 0 if healthy else failed + 1
        in_window = [when for when in restarts if now - when < policy.window]
        if failed >= policy.limit or 0 < policy.max_restarts <= len(in_window):
            assert state.process_state is ProcessState.FATAL
            return
        restarts.append(now)
        # From the two times, as the state machine has it: `began + seconds - began` may be a little less than `seconds`.
        quick = 0 if healthy and now - began >= policy.reset_after else quick
        step = quick if healthy else max(quick, 1)
        quick = step + 1
        assert (state.process_state, state.restarts) == (ProcessState.BACKOFF, len(restarts))
        assert state.next_start == pytest.approx(now + backoff_delay(policy, step, jitter))
        now = state.next_start


@given(policies, st.floats(-1, 1))
def test_the_delay_grows_to_its_cap_and_no_further(policy: RestartSpec, jitter: float) -> None:
    delays = [backoff_delay(policy, step, jitter) for step in range(80)]
    assert delays[0] == 0
    assert all(one <= other for one, other in pairwise(delays[1:]))
    assert max(delays) <= policy.max_delay * (1 + JITTER)
    assert backoff_delay(policy, 10**9, jitter) == delays[-1]
