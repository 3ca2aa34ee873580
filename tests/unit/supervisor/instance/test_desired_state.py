"""The desired state of an instance and what follows from it: in tables, and for any sequence of requests."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.manifest import RestartSpec
from minikube.model import ProcessState
from minikube.supervisor.instance import desired_state, lifecycle
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.runtime.exit_status import Exit

RUNS, STOPPED = DesiredState(), DesiredState(running=False, suspended=True)
ASKED: dict[str, Callable[[DesiredState], DesiredState]] = {
    "start": desired_state.start,
    "stop": desired_state.stop,
    "restart": desired_state.restart,
    "remove": desired_state.remove,
    "hung": lambda one: desired_state.mark_unhealthy(one, "check failed"),
    "exit": desired_state.on_exit,
}


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (RUNS, "start", RUNS),
        (RUNS, "stop", STOPPED),
        (RUNS, "restart", replace(RUNS, restart=True)),
        (STOPPED, "start", RUNS),
        (STOPPED, "restart", replace(RUNS, restart=True)),
        (replace(RUNS, restart=True), "stop", STOPPED),
        (replace(RUNS, restart=True), "start", replace(RUNS, restart=True)),
        (replace(RUNS, unhealthy="check failed"), "stop", replace(STOPPED, unhealthy="check failed")),
        (replace(RUNS, unhealthy="check failed"), "exit", RUNS),
        (desired_state.remove(RUNS), "start", desired_state.remove(RUNS)),
        (desired_state.remove(RUNS), "restart", desired_state.remove(RUNS)),
        (desired_state.scheduled(True), "start", RUNS),
    ],
)
def test_each_request_changes_the_desired_state(before: DesiredState, asked: str, after: DesiredState) -> None:
    assert ASKED[asked](before) == after


@given(st.lists(st.sampled_from(sorted(ASKED))))
def test_the_last_of_start_stop_and_restart_holds_until_it_is_removed(asked: list[str]) -> None:
    now = RUNS
    for one in asked:
        now = ASKED[one](now)
    asked = asked[: asked.index("remove") + 1] if "remove" in asked else asked
    last = next((one for one in reversed(asked) if one in ("start", "stop", "restart", "remove")), "start")
    assert (now.running, now.removed) == (last in ("start", "restart"), last == "remove")
    assert now.suspended is not now.running
    assert now.ends_process or not now.ends_as_failure
    assert not (now.restart and not now.running), "no restart of an instance that is not to run"


def test_a_schedule_is_resumed_where_it_counted_before() -> None:
    idle = desired_state.scheduled(True)
    assert (idle.running, idle.suspended) == (False, False)
    assert desired_state.resume_schedule(desired_state.stop(idle), idle) == idle
    assert desired_state.resume_schedule(desired_state.stop(STOPPED), STOPPED) == STOPPED


ENDS = Exit(-15)
STOPPING = InstanceState(ProcessState.STOPPING, healthy=True, restarts=3, quick_exits=2)


@pytest.mark.parametrize(
    ("desired", "process_state", "reason"),
    [
        (STOPPED, ProcessState.STOPPED, ""),
        (RUNS, ProcessState.STOPPED, ""),
        (replace(RUNS, restart=True), ProcessState.STOPPING, ""),
        (replace(RUNS, unhealthy="hangs"), ProcessState.BACKOFF, "hangs"),
        (replace(RUNS, unhealthy="hangs", restart=True), ProcessState.STOPPING, ""),
        (replace(STOPPED, unhealthy="hangs"), ProcessState.STOPPED, ""),
    ],
    ids=["stop", "start", "restart", "hung", "hung, restart", "hung, stop"],
)
def test_a_process_ended_by_the_supervisor_counts_by_the_desired_state(
    desired: DesiredState, process_state: ProcessState, reason: str
) -> None:
    state = lifecycle.on_terminated(STOPPING, desired, RestartSpec(), ENDS, 9.0, 0.0)
    assert (state.process_state, state.reason) == (process_state, reason)
    assert state.restarts == (4 if process_state is ProcessState.BACKOFF else 3)


@pytest.mark.parametrize(
    ("state", "desired", "due"),
    [
        (InstanceState(), RUNS, 0.0),
        (InstanceState(), STOPPED, math.inf),
        (InstanceState(ProcessState.BACKOFF, next_start=7.5), RUNS, 7.5),
        (InstanceState(ProcessState.BACKOFF, next_start=7.5), STOPPED, math.inf),
        (InstanceState(ProcessState.FATAL), RUNS, math.inf),
        (InstanceState(ProcessState.EXITED), RUNS, math.inf),
        (InstanceState(ProcessState.PENDING), RUNS, 0.0),
    ],
)
def test_the_time_of_the_next_start(state: InstanceState, desired: DesiredState, due: float) -> None:
    assert lifecycle.next_start(state, desired) == due


def test_between_two_processes_a_restart_is_counted_and_a_stop_resets_failures() -> None:
    fatal = InstanceState(
        ProcessState.FATAL, failed_starts=5, quick_exits=5, restarts=4, exit=Exit(3), reason="5 failed starts"
    )
    again = lifecycle.follow_desired(fatal, replace(RUNS, restart=True))
    assert again == InstanceState(ProcessState.PENDING, restarts=5, exit=Exit(3))
    assert lifecycle.follow_desired(fatal, STOPPED) == InstanceState(restarts=4, exit=Exit(3))
    assert lifecycle.follow_desired(fatal, RUNS) is fatal
