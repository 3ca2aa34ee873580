"""What is wanted of an instance, and what that makes of its life: in a table, and for any sequence of requests."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.manifest import RestartSpec
from minikube.model import ProcessState
from minikube.supervisor.instance import desired_state as wish
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.runtime.exit_status import Exit

RUNS, STOPPED = DesiredState(), DesiredState(runs=False, rests=True)
ASKED: dict[str, Callable[[DesiredState], DesiredState]] = {
    "start": wish.started,
    "stop": wish.stopped,
    "restart": wish.restarted,
    "remove": wish.removed,
    "hung": lambda one: wish.failing(one, "check failed"),
    "over": wish.life_ended,
}


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (RUNS, "start", RUNS),
        (RUNS, "stop", STOPPED),
        (RUNS, "restart", replace(RUNS, again=True)),
        (STOPPED, "start", RUNS),
        (STOPPED, "restart", replace(RUNS, again=True)),
        (replace(RUNS, again=True), "stop", STOPPED),
        (replace(RUNS, again=True), "start", replace(RUNS, again=True)),
        (replace(RUNS, unwell="check failed"), "stop", replace(STOPPED, unwell="check failed")),
        (replace(RUNS, unwell="check failed"), "over", RUNS),
        (wish.removed(RUNS), "start", wish.removed(RUNS)),
        (wish.removed(RUNS), "restart", wish.removed(RUNS)),
        (wish.scheduled(True), "start", RUNS),
    ],
)
def test_what_is_asked_becomes_what_is_wanted(before: DesiredState, asked: str, after: DesiredState) -> None:
    assert ASKED[asked](before) == after


@given(st.lists(st.sampled_from(sorted(ASKED))))
def test_the_last_of_start_stop_and_restart_holds_until_it_is_removed(asked: list[str]) -> None:
    now = RUNS
    for one in asked:
        now = ASKED[one](now)
    asked = asked[: asked.index("remove") + 1] if "remove" in asked else asked
    last = next((one for one in reversed(asked) if one in ("start", "stop", "restart", "remove")), "start")
    assert (now.runs, now.removed) == (last in ("start", "restart"), last == "remove")
    assert now.rests is not now.runs
    assert now.ends_life or not now.is_failure
    assert not (now.again and not now.runs), "a new life of what is not to run"


def test_a_schedule_counts_again_where_it_did() -> None:
    idle = wish.scheduled(True)
    assert (idle.runs, idle.rests) == (False, False)
    assert wish.resting_as(wish.stopped(idle), idle) == idle
    assert wish.resting_as(wish.stopped(STOPPED), STOPPED) == STOPPED


ENDS = Exit(-15)
STOPPING = InstanceState(ProcessState.STOPPING, well=True, restarts=3, deaths=2)


@pytest.mark.parametrize(
    ("wanted", "state", "reason"),
    [
        (STOPPED, ProcessState.STOPPED, ""),
        (RUNS, ProcessState.STOPPED, ""),
        (replace(RUNS, again=True), ProcessState.STOPPING, ""),
        (replace(RUNS, unwell="hangs"), ProcessState.BACKOFF, "hangs"),
        (replace(RUNS, unwell="hangs", again=True), ProcessState.STOPPING, ""),
        (replace(STOPPED, unwell="hangs"), ProcessState.STOPPED, ""),
    ],
    ids=["stop", "start", "restart", "hung", "hung, restart", "hung, stop"],
)
def test_an_end_of_our_making_counts_for_what_was_wanted(
    wanted: DesiredState, state: ProcessState, reason: str
) -> None:
    life = lifecycle.ended(STOPPING, wanted, RestartSpec(), ENDS, 9.0, 0.0)
    assert (life.state, life.reason) == (state, reason)
    assert life.restarts == (4 if state is ProcessState.BACKOFF else 3)


@pytest.mark.parametrize(
    ("life", "wanted", "due"),
    [
        (InstanceState(), RUNS, 0.0),
        (InstanceState(), STOPPED, math.inf),
        (InstanceState(ProcessState.BACKOFF, next_try=7.5), RUNS, 7.5),
        (InstanceState(ProcessState.BACKOFF, next_try=7.5), STOPPED, math.inf),
        (InstanceState(ProcessState.FATAL), RUNS, math.inf),
        (InstanceState(ProcessState.EXITED), RUNS, math.inf),
        (InstanceState(ProcessState.PENDING), RUNS, 0.0),
    ],
)
def test_when_the_next_life_is_due(life: InstanceState, wanted: DesiredState, due: float) -> None:
    assert lifecycle.due(life, wanted) == due


def test_between_two_lives_a_restart_is_counted_and_a_stop_forgives() -> None:
    fatal = InstanceState(
        ProcessState.FATAL, failed_starts=5, deaths=5, restarts=4, exit=Exit(3), reason="5 failed starts"
    )
    again = lifecycle.between(fatal, replace(RUNS, again=True))
    assert again == InstanceState(ProcessState.PENDING, restarts=5, exit=Exit(3))
    assert lifecycle.between(fatal, STOPPED) == InstanceState(restarts=4, exit=Exit(3))
    assert lifecycle.between(fatal, RUNS) is fatal
