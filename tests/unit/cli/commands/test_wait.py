"""What `wait` takes for reached, for missing and for hopeless, by the board alone."""

from typing import Any

import pytest

from minikube.cli.commands.wait import GOALS, judge
from minikube.errors import MinikubeError
from minikube.model import CheckState, InstanceView, ProcessState, ServiceView, Snapshot

S, C = ProcessState, CheckState


def one(state: ProcessState, check: CheckState | None = None, name: str = "x", **more: Any) -> InstanceView:
    return InstanceView(name, more.pop("service", name), name, state, check, **more)


def board(*instances: InstanceView, services: tuple[ServiceView, ...] = (ServiceView("x"),)) -> Snapshot:
    return Snapshot("p", 1, 0.0, 0.0, "1", 1, services=services, instances=instances)


def met(instance: InstanceView) -> set[str]:
    """The goals that an instance has reached."""
    reached = set()
    for goal in GOALS:
        try:
            if not judge(board(instance), ("x",), goal):
                reached.add(goal)
        except MinikubeError:
            continue
    return reached


@pytest.mark.parametrize(
    ("instance", "goals"),
    [
        (one(S.RUNNING), "ready healthy started"),
        (one(S.RUNNING, C.PASSING), "ready healthy started"),
        (one(S.RUNNING, C.MAINTENANCE), "ready started"),
        (one(S.RUNNING, C.STARTING), "started"),
        (one(S.RUNNING, C.CRITICAL), "started"),
        (one(S.STARTING, C.STARTING), "started"),
        (one(S.PENDING), ""),
        (one(S.BACKOFF, exit="exit 1", reason="exit 1"), ""),
        (one(S.STOPPING), ""),
        (one(S.STOPPED), "stopped"),
        (one(S.EXITED, exit="exit 0", reason="exit 0"), "ready started stopped completed exited"),
        (one(S.EXITED, exit="exit 3"), "ready started stopped completed exited"),
        (one(S.EXITED, exit="exit 3", reason="exit 3"), "started stopped exited"),
        (one(S.FATAL, exit="exit 1", reason="no such file"), "stopped exited"),
        (one(S.FATAL, pid=7), "exited"),
    ],
)
def test_which_goals_an_instance_has_reached(instance: InstanceView, goals: str) -> None:
    assert met(instance) == set(goals.split())


@pytest.mark.parametrize("goal", ["ready", "healthy", "started", "completed"])
def test_what_cannot_come_is_told_at_once_with_its_reason(goal: str) -> None:
    with pytest.raises(MinikubeError, match=r"^x is fatal: port 1 is taken$"):
        judge(board(one(S.FATAL, reason="port 1 is taken")), (), goal)


@pytest.mark.parametrize("goal", ["ready", "healthy", "completed"])
def test_a_failed_task_will_not_complete(goal: str) -> None:
    with pytest.raises(MinikubeError, match=r"^x has failed: exit 2$"):
        judge(board(one(S.EXITED, exit="exit 2", reason="exit 2")), (), goal)


def test_who_waits_for_the_hopeless_is_hopeless_too() -> None:
    services = (
        ServiceView("a"),
        ServiceView("b", depends_on={"a": "healthy"}),
        ServiceView("c", depends_on={"b": "healthy"}),
    )
    waiting = [one(S.PENDING, name="b"), one(S.PENDING, name="c")]
    snapshot = board(one(S.FATAL, name="a", reason="gone"), *waiting, services=services)
    with pytest.raises(MinikubeError, match=r"^c waits for b, and b waits for a, and a is fatal: gone$"):
        judge(snapshot, ("c",), "healthy")
    backoff = board(one(S.BACKOFF, name="a", reason="exit 1"), *waiting, services=services)
    assert judge(backoff, ("c",), "healthy") == ["c is pending"]


def test_how_the_others_stand_is_told_behind_what_cannot_come() -> None:
    waiting = [
        one(S.PENDING, name="b", reason="waiting for a"),
        *(one(S.STARTING, C.STARTING, name=f"d-{number}", service="d") for number in range(6)),
    ]
    ready = [one(S.RUNNING, C.PASSING, name="e"), one(S.RUNNING, name="f")]
    services = (ServiceView("a"), ServiceView("b", depends_on={"a": "healthy"}))
    with pytest.raises(MinikubeError) as failure:
        judge(board(*waiting, one(S.FATAL, name="a", reason="gone"), *ready, services=services), (), "ready")
    assert str(failure.value).split("; ") == [
        "a is fatal: gone",
        "b is pending (waiting for a)",
        "d-0 is starting",
        "d-1 is starting",
        "d-2 is starting",
        "3 more are not ready",
        "2 of 10 are ready",
    ]


def test_all_replicas_count_and_each_that_is_missing_is_told_with_its_reason() -> None:
    rows = [
        one(S.RUNNING, C.PASSING, name="x-1", service="x"),
        one(S.RUNNING, C.CRITICAL, name="x-2", service="x", output="connection refused\nmore"),
        one(S.PENDING, name="x-3", service="x", reason="waiting for y to be healthy"),
    ]
    assert judge(board(*rows), ("x",), "healthy") == [
        "x-2 is critical (connection refused)",
        "x-3 is pending (waiting for y to be healthy)",
    ]
    assert judge(board(*rows), ("x-1",), "healthy") == []
    assert judge(board(*rows), ("x",), "stopped") == [
        "x-1 is running",
        "x-2 is running",
        "x-3 is pending (waiting for y to be healthy)",
    ]


def test_who_is_not_there_is_missing_unless_that_is_what_is_wanted() -> None:
    nobody = board(services=(ServiceView("x"), ServiceView("y", replicas=0), ServiceView("z", "external")))
    assert judge(nobody, (), "ready") == ["x has no instance"]
    assert judge(nobody, ("y", "x-2"), "ready") == ["y has no instance (0 replicas)", "x-2 has no instance"]
    assert judge(nobody, ("x",), "stopped") == []
    assert judge(nobody, ("x",), "gone") == []
    assert judge(board(one(S.STOPPED)), ("x",), "gone") == ["x is stopped"]
    assert judge(board(services=()), (), "ready") == []
