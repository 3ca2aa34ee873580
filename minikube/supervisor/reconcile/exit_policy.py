"""Whether the end of an instance ends the whole project, and with which exit code. Pure.

    on_exit = "stop-all"             an instance of the service has ended, for good
    on_exit = "stop-all-on-failure"  the same, but not with success
    up --abort-on-failure            the same for every service
    up --exit-with SERVICE           all instances of the service have ended, or wait for a dependency in vain

For good: after the restart policy, which may restart it. `exit_watch` finds the ends; requests of users are none.
"""

from collections.abc import Iterable

from msgspec import Struct

from minikube.manifest import ServiceSpec
from minikube.model import ProcessState
from minikube.supervisor.instance.lifecycle import InstanceState


class ProjectEnd(Struct, frozen=True):
    """Why a service ends the whole project. As text: `web-2 ended: exit 3 (on_exit = "stop-all")`."""

    service: str
    instance: str
    """The instance that has ended; for `up --exit-with`, the service."""
    how: str
    code: int
    """The exit code of `up`: that of the instance, 128 + N after signal N, and 1 for a failure without one."""
    rule: str = ""
    """The setting that has the project stopped; empty for `up --exit-with`."""

    def __str__(self) -> str:
        return f"{self.instance} ended: {self.how}" + (f" ({self.rule})" if self.rule else "")


def end_by_instance(
    spec: ServiceSpec, instance: str, state: InstanceState, *, abort_on_failure: bool
) -> ProjectEnd | None:
    """Return the end of the project that the end of an instance means; None where the project goes on.

    `state` is the state of the instance, which has ended for good: `exited` or `fatal`.
    """
    failed = _has_failed(state)
    if spec.on_exit == "stop-all" or (failed and spec.on_exit == "stop-all-on-failure"):
        rule = f'on_exit = "{spec.on_exit}"'
    elif failed and abort_on_failure:
        rule = "--abort-on-failure"
    else:
        return None
    return ProjectEnd(spec.name, instance, *_describe(state), rule)


def end_by_service(name: str, states: Iterable[InstanceState]) -> ProjectEnd:
    """Return the end of the project that the end of a whole service means: that of the instance with the highest exit code.

    An instance that waits for a dependency in vain counts as failed.
    """
    how, code = max(map(_describe, states), key=lambda end: end[1])
    return ProjectEnd(name, name, how, code)


def _has_failed(state: InstanceState) -> bool:
    return state.process_state is not ProcessState.EXITED or not state.completed


def _describe(state: InstanceState) -> tuple[str, int]:
    """Return how an instance has ended, and its exit code."""
    code = state.exit.code if state.exit and state.process_state.is_final else 0
    # A failure is never code 0: `fatal` after programs that exit with 0 at once, or a failed check.
    return state.reason or str(state.exit), code or int(_has_failed(state))
