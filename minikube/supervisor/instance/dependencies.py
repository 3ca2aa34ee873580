"""Whether the dependencies of a service are met, and if not, the reason. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from minikube.manifest import Condition
from minikube.model import ProcessState


class DependencyStatus(Struct, frozen=True):
    """The status of one instance of a dependency, reduced to what decides whether a dependent service can start."""

    name: str
    state: ProcessState
    ready: bool = False
    """It passes its check, or has no check and has run for long enough."""
    completed: bool = False
    """It has ended with success, for good; with a schedule: a run has, at some time."""
    exited: bool = False
    """The same, whatever the exit code. One that could not be started, or was given up, counts as ended."""
    may_come: bool = True
    """It runs, or will run without a user's request."""
    reason: str = ""
    """Why it is not ready."""


def unmet_condition(service: str, condition: Condition, statuses: Sequence[DependencyStatus]) -> str:
    """Return a text that says why services which depend on `service` cannot start yet; empty when they can.

    `statuses` are those of the instances of `service`. The conditions `started` and `healthy` need one such instance,
    `completed` needs all of them to have ended with success, and `exited` to have ended.
    """
    if condition in ("completed", "exited"):
        met = bool(statuses) and all(_has_ended(status, condition) for status in statuses)
    elif condition == "started":
        met = any(status.state.is_active or status.state is ProcessState.EXITED for status in statuses)
    else:
        met = any(status.ready for status in statuses)
    if met:
        return ""
    found = obstacle(service, condition, statuses)
    return f"waiting for {service} to be {condition}" + (f": {found}" if found else "")


def may_be_met(condition: Condition, statuses: Sequence[DependencyStatus]) -> bool:
    """Return whether a condition that is not met yet may be met without a user's request."""
    if condition in ("completed", "exited"):
        return bool(statuses) and all(status.may_come or _has_ended(status, condition) for status in statuses)
    return any(status.may_come for status in statuses)


def has_failed(condition: Condition, statuses: Sequence[DependencyStatus]) -> bool:
    """Return whether a condition will not be met because the service has failed, not because it is stopped or was never
    started.
    """
    # One that is pending and does not come waits in vain for another service.
    ended = (ProcessState.FATAL, ProcessState.EXITED, ProcessState.PENDING)
    return not may_be_met(condition, statuses) and any(status.state in ended for status in statuses)


def _has_ended(status: DependencyStatus, condition: Condition) -> bool:
    return status.completed if condition == "completed" else status.exited


def obstacle(service: str, condition: Condition, statuses: Sequence[DependencyStatus]) -> str:
    """Return a text that names the instance which keeps `service` from the condition; empty while it starts as usual."""
    if not statuses:
        return f"{service} has no instance — `minikube scale {service}=1`"
    ends = condition in ("completed", "exited")
    waiting = [status for status in statuses if not (ends and _has_ended(status, condition))]
    # In the order of how much a user can do about them.
    for state, words in (
        (ProcessState.FATAL, "is fatal"),
        (ProcessState.EXITED, "has ended"),
        (ProcessState.BACKOFF, "is in backoff"),
        (ProcessState.STOPPED, "is stopped"),
        (ProcessState.STOPPING, "is being stopped"),
        (ProcessState.PENDING, "is itself pending"),
        (ProcessState.RUNNING, "runs"),
    ):
        for status in waiting:
            if status.state is not state or (state is ProcessState.RUNNING and not status.reason):
                continue
            if state is ProcessState.STOPPED and status.may_come:
                return f"{status.name} has not run yet"
            if state is ProcessState.STOPPED:
                return f"{status.name} {words} — `minikube start {status.name}`"
            return f"{status.name} {words}" + (f": {status.reason}" if status.reason else "")
    return ""
