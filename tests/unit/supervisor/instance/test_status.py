"""An instance's row: what is shown while it runs, and after it has ended by itself."""

from pathlib import Path

import pytest

from minikube.manifest import HealthSpec, ServiceSpec
from minikube.model import CheckState, InstanceView, ProcessState
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.instance.status import OUTDATED, RunningProcess, instance_view
from minikube.supervisor.readiness.check_state import CheckSummary
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.runtime.exit_status import Exit

SPEC = ServiceSpec("web", Path("/"), ("run",), health=HealthSpec("http", http="/health"))
PROCESS = RunningProcess(pid=42, started=5.0, outdated=False)
OLD_PROCESS = RunningProcess(pid=42, started=5.0, outdated=True)


HERE = InstanceDescription("0badcafe", "web-2", SPEC, "127.0.0.1", InstancePorts(80))
NETWORKED = InstanceDescription(
    *("0badcafe", "web-2", SPEC, "172.18.0.2"),
    InstancePorts(4000, {"admin": 4001}),
    reached_ports=InstancePorts(80, {"admin": 9230}),
)


def view(
    state: InstanceState, process: RunningProcess | None = PROCESS, instance: InstanceDescription = HERE
) -> InstanceView:
    return instance_view(
        instance,
        state,
        CheckSummary(CheckState.PASSING, "200 OK", since=7.0, checked=9.0),
        state.reason,
        process,
        since=6.0,
        last_lines=("last words",),
        next_run=0.0,
        now=100.0,
        monotonic=10.0,
    )


def test_a_running_instance_shows_its_process_address_and_check() -> None:
    shown = view(InstanceState(ProcessState.RUNNING, restarts=3))
    assert (shown.service, shown.name, shown.pid, shown.restarts) == ("web", "web-2", 42, 3)
    assert (shown.address, shown.health) == ("127.0.0.1:80", "http://127.0.0.1:80/health")
    assert (shown.check, shown.output, shown.check_since, shown.checked) == (CheckState.PASSING, "200 OK", 7.0, 9.0)
    assert (shown.started, shown.since, shown.last_lines, shown.reason) == (5.0, 6.0, (), "")


def test_a_container_with_an_address_of_its_own_shows_it_and_the_ports_of_this_machine() -> None:
    shown = view(InstanceState(ProcessState.RUNNING), instance=NETWORKED)
    assert (shown.address, shown.health) == ("172.18.0.2:80", "http://172.18.0.2:80/health")
    assert (shown.published, shown.ports) == ("127.0.0.1:4000", {"admin": 4001})
    assert view(InstanceState(ProcessState.RUNNING)).published == ""


@pytest.mark.parametrize(
    ("state", "next_start", "shown_try"),
    [(ProcessState.BACKOFF, 12.5, 102.5), (ProcessState.BACKOFF, 9.0, 0.0), (ProcessState.FATAL, 12.5, 0.0)],
)
def test_an_instance_that_has_ended_by_itself_shows_its_last_lines_and_the_time_of_the_next_try(
    state: ProcessState, next_start: float, shown_try: float
) -> None:
    shown = view(InstanceState(state, next_start=next_start, exit=Exit(3), reason="exit 3"), None)
    assert (shown.pid, shown.started, shown.exit, shown.reason) == (0, 0.0, "exit 3", "exit 3")
    assert (shown.last_lines, shown.next_try) == (("last words",), shown_try)


def test_an_outdated_process_is_shown_as_such_unless_there_is_another_reason() -> None:
    assert view(InstanceState(ProcessState.RUNNING), OLD_PROCESS).reason == OUTDATED
    assert view(InstanceState(ProcessState.RUNNING, reason="not ready"), OLD_PROCESS).reason == "not ready"
