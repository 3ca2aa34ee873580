"""Which dependencies a service waits for: required ones until they are met, optional ones while they may be met."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from minikube.manifest import Condition, PortSpec, RestartSpec, ServiceSpec
from minikube.model import ProcessState
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState, scheduled
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.runtime.exit_status import Exit
from tests.unit.supervisor.instance.fakes import FakeSupervisor

STOPPED, RUNS = DesiredState(running=False), DesiredState()
DONE = InstanceState(ProcessState.EXITED, completed=True, exit=Exit(0), has_ended=True, has_completed=True)
FAILED = InstanceState(ProcessState.EXITED, exit=Exit(3), reason="exit 3", has_ended=True)
FATAL = InstanceState(ProcessState.FATAL, reason="command not found")
BACKOFF = InstanceState(ProcessState.BACKOFF, reason="exit 1")
NONE = InstanceState()


def project(*instances: tuple[InstanceState, DesiredState], schedule: str = "") -> ReplicaSet:
    """The instances of a service `db`."""
    replicas = ReplicaSet()
    replicas.add_service("db")
    spec = ServiceSpec("db", Path("/"), ("run",), replicas=len(instances), schedule=schedule)
    for number, (state, desired) in enumerate(instances, 1):
        controller = InstanceController(FakeSupervisor().collaborators, spec, number, f"{number:08x}", desired)
        controller.state = state
        replicas.add(controller)
    return replicas


def dependent(condition: Condition, *, optional: bool) -> ServiceSpec:
    names = ("db",) if optional else ()
    return ServiceSpec("web", Path("/"), ("run",), depends_on={"db": condition}, optional_dependencies=names)


@pytest.mark.parametrize(
    ("condition", "instances", "waits", "skips"),
    [
        ("healthy", [(NONE, STOPPED)], False, False),  # not selected, or stopped by a user
        ("healthy", [(NONE, RUNS)], True, False),  # it is about to start
        ("healthy", [(BACKOFF, RUNS)], True, False),
        ("healthy", [(BACKOFF, STOPPED)], False, False),
        ("healthy", [(FATAL, RUNS)], False, True),
        ("healthy", [(FATAL, RUNS), (BACKOFF, RUNS)], True, False),
        ("healthy", [(FAILED, RUNS)], False, True),
        ("healthy", [], False, False),  # no replicas
        ("completed", [(DONE, RUNS)], False, False),
        ("completed", [(FAILED, RUNS)], False, True),
        ("completed", [(DONE, RUNS), (NONE, RUNS)], True, False),
        ("completed", [(FAILED, RUNS), (NONE, RUNS)], False, True),
        ("exited", [(FAILED, RUNS)], False, False),  # met
        ("exited", [(FATAL, RUNS), (DONE, RUNS)], False, False),
        ("exited", [(FATAL, RUNS), (BACKOFF, RUNS)], True, False),
        ("exited", [(NONE, STOPPED)], False, False),
        ("started", [(FATAL, RUNS)], False, True),
        ("started", [(FAILED, RUNS)], False, False),
    ],
)
async def test_an_optional_dependency_is_waited_for_while_it_may_be_met(
    condition: Condition, instances: list[tuple[InstanceState, DesiredState]], waits: bool, skips: bool
) -> None:
    """It never blocks. Only its failure is worth an event: not that a user stopped it, or that `up` does not start it."""
    replicas, web = project(*instances), dependent(condition, optional=True)
    assert bool(replicas.unmet_dependency(web)) is waits
    assert bool(replicas.skipped_dependencies(web)) is skips
    assert replicas.blocked_dependency(web) == ""


@pytest.mark.parametrize(
    ("condition", "instances", "met", "blocks"),
    [
        ("exited", [(DONE, RUNS)], True, False),
        ("exited", [(FAILED, RUNS), (FATAL, RUNS)], True, False),
        ("exited", [(DONE, RUNS), (BACKOFF, RUNS)], False, False),
        ("exited", [(NONE, STOPPED)], False, True),
        ("exited", [], False, True),
        ("completed", [(FAILED, RUNS)], False, True),
        ("healthy", [(FATAL, RUNS)], False, True),
    ],
)
async def test_a_required_dependency_is_waited_for_until_it_is_met(
    condition: Condition, instances: list[tuple[InstanceState, DesiredState]], met: bool, blocks: bool
) -> None:
    replicas, web = project(*instances), dependent(condition, optional=False)
    assert (replicas.unmet_dependency(web) == "") is met
    assert bool(replicas.blocked_dependency(web)) is blocks
    assert replicas.skipped_dependencies(web) == ()


async def test_an_optional_dependency_that_waits_in_vain_for_another_service_is_skipped() -> None:
    replicas = project((FATAL, RUNS))
    replicas.add_service("cache")
    spec = ServiceSpec("cache", Path("/"), ("run",), depends_on={"db": "healthy"})
    cache = InstanceController(FakeSupervisor().collaborators, spec, 1, "cafe", RUNS)
    cache.state = InstanceState(ProcessState.PENDING, reason="waiting for db to be healthy: db-1 is fatal")
    replicas.add(cache)
    web = ServiceSpec("web", Path("/"), ("run",), depends_on={"cache": "healthy"}, optional_dependencies=("cache",))
    assert replicas.unmet_dependency(web) == ""
    (text,) = replicas.skipped_dependencies(web)
    assert text == "cache: cache is itself pending: waiting for db to be healthy: db-1 is fatal"


@pytest.mark.parametrize(("condition", "code"), [("exited", 3), ("completed", 0)])
async def test_the_first_run_of_a_schedule_counts_also_while_a_later_one_goes_on(
    condition: Condition, code: int
) -> None:
    """And after a later one that failed."""
    web, desired, never = dependent(condition, optional=False), scheduled(selected=True), RestartSpec("never")
    assert "has not run yet" in project((NONE, desired), schedule="@daily").unmet_dependency(web)
    state = lifecycle.on_started(NONE, 0.0)
    assert project((state, RUNS), schedule="@daily").unmet_dependency(web) != ""
    state = lifecycle.on_exit(state, never, Exit(code), 1.0, 0.0)
    assert project((state, RUNS), schedule="@daily").unmet_dependency(web) == ""
    state = lifecycle.on_started(lifecycle.reset_failures(state, RUNS), 2.0)
    assert project((state, RUNS), schedule="@daily").unmet_dependency(web) == ""
    state = lifecycle.on_exit(state, never, Exit(1), 3.0, 0.0)
    assert project((state, RUNS), schedule="@daily").unmet_dependency(web) == ""


async def test_a_task_that_is_started_again_is_waited_for_again() -> None:
    """Without a schedule, what counts is its last run."""
    web = dependent("exited", optional=False)
    assert project((lifecycle.reset_failures(DONE, RUNS), RUNS)).unmet_dependency(web) != ""
    assert project((replace(FAILED, process_state=ProcessState.RUNNING), RUNS)).unmet_dependency(web) != ""


async def test_the_ports_of_others_are_those_of_all_other_instances() -> None:
    """An instance keeps its own at a restart; a UDP port is not a TCP port."""
    replicas = project((NONE, RUNS), (NONE, STOPPED))
    first, second = replicas.of("db")
    dns = PortSpec(protocol="udp")
    for number, controller in enumerate((first, second)):
        controller.spec = controller.launched_spec = replace(controller.spec, ports={"dns": dns})
        controller.ports = InstancePorts(8000 + number, {"dns": 9000 + number})
    assert replicas.ports_of_others(first.id) == {("tcp", 8001), ("udp", 9001)}
    assert replicas.ports_of_others("another") == {("tcp", 8000), ("tcp", 8001), ("udp", 9000), ("udp", 9001)}
