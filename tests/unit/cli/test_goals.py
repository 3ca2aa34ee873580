"""The goals of `wait`: when an instance has reached one, what is missing, and what can never reach it."""

from typing import Any

import pytest

from minikube.cli.goals import GOALS, find_missing, summarize_missing
from minikube.errors import MinikubeError
from minikube.model import CheckState, InstanceView, ProcessState, ServiceView, Snapshot

S, C = ProcessState, CheckState


def instance(state: ProcessState, check: CheckState | None = None, name: str = "x", **more: Any) -> InstanceView:
    return InstanceView(name, more.pop("service", name), name, state, check, **more)


def snapshot_of(*instances: InstanceView, services: tuple[ServiceView, ...] = (ServiceView("x"),)) -> Snapshot:
    return Snapshot("p", 1, 0.0, 0.0, "1", 1, services=services, instances=instances)


def reached_goals(view: InstanceView) -> set[str]:
    """The goals that an instance has reached."""
    reached = set()
    for goal in GOALS:
        try:
            if not find_missing(snapshot_of(view), ("x",), goal):
                reached.add(goal)
        except MinikubeError:
            continue
    return reached


@pytest.mark.parametrize(
    ("view", "goals"),
    [
        (instance(S.RUNNING), "ready healthy started"),
        (instance(S.RUNNING, C.PASSING), "ready healthy started"),
        (instance(S.RUNNING, C.MAINTENANCE), "ready started"),
        (instance(S.RUNNING, C.STARTING), "started"),
        (instance(S.RUNNING, C.CRITICAL), "started"),
        (instance(S.STARTING, C.STARTING), "started"),
        (instance(S.PENDING), ""),
        (instance(S.BACKOFF, exit="exit 1", reason="exit 1"), ""),
        (instance(S.STOPPING), ""),
        (instance(S.STOPPED), "stopped"),
        (instance(S.EXITED, exit="exit 0", reason="exit 0"), "ready started stopped completed exited"),
        (instance(S.EXITED, exit="exit 3"), "ready started stopped completed exited"),
        (instance(S.EXITED, exit="exit 3", reason="exit 3"), "started stopped exited"),
        (instance(S.FATAL, exit="exit 1", reason="no such file"), "stopped exited"),
        (instance(S.FATAL, pid=7), "exited"),
    ],
)
def test_the_goals_that_an_instance_has_reached(view: InstanceView, goals: str) -> None:
    assert reached_goals(view) == set(goals.split())


@pytest.mark.parametrize("goal", ["ready", "healthy", "started", "completed"])
def test_a_fatal_instance_is_an_error_with_its_reason(goal: str) -> None:
    with pytest.raises(MinikubeError, match=r"^x is fatal: port 1 is taken$"):
        find_missing(snapshot_of(instance(S.FATAL, reason="port 1 is taken")), (), goal)


@pytest.mark.parametrize("goal", ["ready", "healthy", "completed"])
def test_a_failed_task_is_an_error_with_its_reason(goal: str) -> None:
    with pytest.raises(MinikubeError, match=r"^x has failed: exit 2$"):
        find_missing(snapshot_of(instance(S.EXITED, exit="exit 2", reason="exit 2")), (), goal)


def test_an_instance_that_waits_for_a_fatal_one_is_an_error_that_names_the_chain() -> None:
    services = (
        ServiceView("a"),
        ServiceView("b", depends_on={"a": "healthy"}),
        ServiceView("c", depends_on={"b": "healthy"}),
    )
    waiting = [instance(S.PENDING, name="b"), instance(S.PENDING, name="c")]
    snapshot = snapshot_of(instance(S.FATAL, name="a", reason="gone"), *waiting, services=services)
    with pytest.raises(MinikubeError, match=r"^c waits for b, and b waits for a, and a is fatal: gone$"):
        find_missing(snapshot, ("c",), "healthy")
    in_backoff = snapshot_of(instance(S.BACKOFF, name="a", reason="exit 1"), *waiting, services=services)
    assert find_missing(in_backoff, ("c",), "healthy") == ["c is pending"]


@pytest.mark.parametrize(
    ("condition", "optional", "state", "waits"),
    [
        ("exited", False, S.EXITED, True),
        ("exited", False, S.FATAL, True),
        ("started", False, S.EXITED, True),
        ("started", False, S.FATAL, False),
        ("completed", False, S.EXITED, False),
        ("healthy", True, S.FATAL, True),
    ],
)
def test_a_failed_dependency_is_an_error_only_for_instances_that_wait_for_its_success(
    condition: str, optional: bool, state: ProcessState, waits: bool
) -> None:
    web = ServiceView("web", depends_on={"a": condition}, optional_dependencies=("a",) if optional else ())
    views = (instance(state, name="a", exit="exit 1", reason="exit 1"), instance(S.PENDING, name="web"))
    snapshot = snapshot_of(*views, services=(ServiceView("a"), web))
    if waits:
        assert find_missing(snapshot, ("web",), "ready") == ["web is pending"]
    else:
        with pytest.raises(MinikubeError, match="web waits for a"):
            find_missing(snapshot, ("web",), "ready")


def test_an_error_also_names_the_states_of_the_other_instances() -> None:
    waiting = [
        instance(S.PENDING, name="b", reason="waiting for a"),
        *(instance(S.STARTING, C.STARTING, name=f"d-{number}", service="d") for number in range(6)),
    ]
    ready = [instance(S.RUNNING, C.PASSING, name="e"), instance(S.RUNNING, name="f")]
    services = (ServiceView("a"), ServiceView("b", depends_on={"a": "healthy"}))
    with pytest.raises(MinikubeError) as failure:
        find_missing(
            snapshot_of(*waiting, instance(S.FATAL, name="a", reason="gone"), *ready, services=services), (), "ready"
        )
    assert str(failure.value).split("; ") == [
        "a is fatal: gone",
        "b is pending (waiting for a)",
        "d-0 is starting",
        "d-1 is starting",
        "d-2 is starting",
        "3 more are not ready",
        "2 of 10 are ready",
    ]


def test_the_numbers_of_an_error_are_of_all_that_is_waited_for() -> None:
    """A replica that does not exist yet counts; an instance of another program and one that `up` did not start do not."""
    services = (
        ServiceView("a"),
        ServiceView("web", replicas=3),
        ServiceView("task"),
        ServiceView("other", "external"),
        ServiceView("tool", chosen=False),
    )
    rows = [
        instance(S.FATAL, name="a", reason="gone"),
        instance(S.RUNNING, C.PASSING, name="web-1", service="web"),
        instance(S.EXITED, name="task", exit="exit 0"),
        instance(S.RUNNING, C.CRITICAL, name="other-1", service="other"),
        instance(S.STOPPED, name="tool"),
    ]
    with pytest.raises(MinikubeError, match=r"^a is fatal: gone; 2 of 5 are ready$"):
        find_missing(snapshot_of(*rows, services=services), (), "ready")
    assert find_missing(snapshot_of(*rows[1:], services=services[1:]), (), "ready") == ["web has 1 of 3 instances"]


def test_every_replica_has_to_reach_the_goal_and_each_missing_one_is_named_with_its_reason() -> None:
    rows = [
        instance(S.RUNNING, C.PASSING, name="x-1", service="x"),
        instance(S.RUNNING, C.CRITICAL, name="x-2", service="x", output="connection refused\nmore"),
        instance(S.PENDING, name="x-3", service="x", reason="waiting for y to be healthy"),
    ]
    assert find_missing(snapshot_of(*rows), ("x",), "healthy") == [
        "x-2 is critical (connection refused)",
        "x-3 is pending (waiting for y to be healthy)",
    ]
    assert find_missing(snapshot_of(*rows), ("x-1",), "healthy") == []
    assert find_missing(snapshot_of(*rows), ("x",), "stopped") == [
        "x-1 is running",
        "x-2 is running",
        "x-3 is pending (waiting for y to be healthy)",
    ]


@pytest.mark.parametrize("goal", ["ready", "healthy", "started", "completed"])
def test_a_named_service_with_0_replicas_is_an_error_at_once(goal: str) -> None:
    empty = snapshot_of(services=(ServiceView("x"), ServiceView("y", replicas=0)))
    with pytest.raises(
        MinikubeError, match=f"^y has 0 replicas: no instance of it gets {goal} — `minikube scale y=1` starts"
    ):
        find_missing(empty, ("x", "y"), goal)
    leaving = snapshot_of(instance(S.STOPPING, name="y"), services=(ServiceView("y", replicas=0),))
    assert find_missing(leaving, ("y",), goal) == ["y is stopping"]


def test_a_service_without_instances_is_missing_but_for_the_goals_stopped_and_gone() -> None:
    empty = snapshot_of(services=(ServiceView("x"), ServiceView("y", replicas=0), ServiceView("z", "external")))
    assert find_missing(empty, (), "ready") == ["x has no instance"]
    assert find_missing(empty, ("x-2",), "ready") == ["x-2 has no instance"]
    assert find_missing(empty, ("y",), "stopped") == []
    assert find_missing(empty, ("x",), "stopped") == []
    assert find_missing(empty, ("x",), "gone") == []
    assert find_missing(snapshot_of(instance(S.STOPPED)), ("x",), "gone") == ["x is stopped"]
    assert find_missing(snapshot_of(services=()), (), "ready") == []


def test_a_wait_that_ends_by_time_describes_equal_reasons_together_and_a_few_of_the_others() -> None:
    assert summarize_missing(["x is pending (waits for db)"], "ready") == "x is pending (waits for db)"
    assert summarize_missing(["a is pending", "y has no instance", "b is pending"], "ready") == (
        "a, b are pending; y has no instance"
    )
    same = [f"x-{number} is pending (waits for db)" for number in range(300)]
    others = [f"y-{number} is critical (exit {number})" for number in range(300)]
    text = summarize_missing(same + others, "ready")
    assert text == (
        "x-0, x-1, x-2, x-3 and 296 more are pending (waits for db); y-0 is critical (exit 0); y-1 is critical (exit 1);"
        " y-2 is critical (exit 2); y-3 is critical (exit 3); 296 more are not ready"
    )
