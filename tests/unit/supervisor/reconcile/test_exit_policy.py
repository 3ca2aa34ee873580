"""Which end of an instance ends the whole project, and with which exit code."""

from pathlib import Path
from typing import Any, cast

import pytest

from minikube.control.state_store import StateStore
from minikube.manifest import ServiceSpec
from minikube.manifest.spec import OnExit
from minikube.model import ProcessState
from minikube.supervisor.context import RunContext
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.reconcile.exit_policy import ProjectEnd, end_by_instance, end_by_service
from minikube.supervisor.reconcile.exit_watch import ExitWatch
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.runtime.exit_status import Exit

EXITED, FATAL = ProcessState.EXITED, ProcessState.FATAL
GOOD = InstanceState(EXITED, completed=True, exit=Exit(0))
GOOD_3 = InstanceState(EXITED, completed=True, exit=Exit(3))
BAD = InstanceState(EXITED, exit=Exit(3), reason="exit 3")
KILLED = InstanceState(EXITED, exit=Exit(-9, "out of memory, limits.memory"), reason="signal KILL (out of memory)")
UNHEALTHY = InstanceState(EXITED, exit=Exit(0), reason="its check failed 3 times in a row")
GIVEN_UP = InstanceState(FATAL, exit=Exit(4), reason="exit 4: 5 failed starts in a row")
GIVEN_UP_0 = InstanceState(FATAL, exit=Exit(0), reason="exit 0: 5 failed starts in a row")
MISSING = InstanceState(FATAL, reason="command not found: x")


def service(on_exit: OnExit = "keep") -> ServiceSpec:
    return ServiceSpec("web", Path("/"), ("run",), on_exit=on_exit)


@pytest.mark.parametrize(
    ("state", "failed", "code", "how"),
    [
        (GOOD, False, 0, "exit 0"),
        (GOOD_3, False, 3, "exit 3"),
        (BAD, True, 3, "exit 3"),
        (KILLED, True, 137, "signal KILL (out of memory)"),
        (UNHEALTHY, True, 1, "its check failed 3 times in a row"),
        (GIVEN_UP, True, 4, "exit 4: 5 failed starts in a row"),
        (GIVEN_UP_0, True, 1, "exit 0: 5 failed starts in a row"),
        (MISSING, True, 1, "command not found: x"),
    ],
)
def test_an_end_ends_the_project_by_the_setting_of_its_service_or_of_up(
    state: InstanceState, failed: bool, code: int, how: str
) -> None:
    """A failure is never exit code 0."""

    def end(on_exit: OnExit, *, abort: bool = False) -> ProjectEnd | None:
        return end_by_instance(service(on_exit), "web-2", state, abort_on_failure=abort)

    found = ProjectEnd("web", "web-2", how, code, 'on_exit = "stop-all"')
    assert end("keep") is None
    assert end("stop-all") == end("stop-all", abort=True) == found
    rule = 'on_exit = "stop-all-on-failure"'
    assert end("stop-all-on-failure") == (ProjectEnd("web", "web-2", how, code, rule) if failed else None)
    aborted = ProjectEnd("web", "web-2", how, code, "--abort-on-failure")
    assert end("keep", abort=True) == (aborted if failed else None)
    assert str(found) == f'web-2 ended: {how} (on_exit = "stop-all")'


def test_the_worst_exit_of_a_service_counts() -> None:
    """A process killed for its memory counts as a killed one; an instance that waits in vain as a failed one."""
    waiting = InstanceState(ProcessState.PENDING, exit=Exit(9), reason="waiting for db: db is fatal")
    assert end_by_service("web", [BAD, KILLED]) == ProjectEnd("web", "web", "signal KILL (out of memory)", 137)
    assert end_by_service("web", [GOOD, waiting]).code == 1
    assert str(end_by_service("web", [GOOD])) == "web ended: exit 0"


def watch(**options: Any) -> tuple[ExitWatch, RunContext]:
    context = RunContext(Path("/p/.minikube"), LaunchOptions(**options), StateStore("p"), cast(Any, None), "")
    return ExitWatch(context, ReplicaSet()), context


async def test_the_first_of_two_ends_counts() -> None:
    found, _ = watch()
    found.on_end(service("keep"), "web-1", BAD)
    found.on_end(service("stop-all"), "web-2", GOOD)
    found.on_end(service("stop-all"), "web-3", BAD)
    assert (await found.wait()).instance == "web-2"


async def test_nothing_ends_a_project_that_is_stopping(autojump_clock: object) -> None:
    import trio

    found, context = watch(abort_on_failure=True, exit_with="web")
    context.shutdown()
    found.on_end(service("stop-all"), "web", BAD)
    with trio.move_on_after(60) as waiting:
        await found.wait()
    assert waiting.cancelled_caught
