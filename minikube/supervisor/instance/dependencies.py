"""Whether what a service depends on is there, and if not, why. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from minikube.manifest import Condition
from minikube.model import ProcessState


class DependencyStatus(Struct, frozen=True):
    """One instance of a dependency, as its dependents see it."""

    name: str
    state: ProcessState
    ready: bool = False
    """It passes its check, or has none and is healthy."""
    completed: bool = False
    """It has ended with success, for good."""
    reason: str = ""
    """Why it is not ready."""


def unmet_condition(service: str, condition: Condition, statuses: Sequence[DependencyStatus]) -> str:
    """Return why a dependent of `service` cannot start yet, in one line; an empty string when it can.

    `started` and `healthy` need one instance, `completed` needs all of them to have ended with success.
    """
    if condition == "completed":
        met = bool(statuses) and all(status.completed for status in statuses)
    elif condition == "started":
        met = any(status.state.is_active or status.state is ProcessState.EXITED for status in statuses)
    else:
        met = any(status.ready for status in statuses)
    if met:
        return ""
    obstacle = _obstacle(service, condition, statuses)
    return f"waiting for {service} to be {condition}" + (f": {obstacle}" if obstacle else "")


def _obstacle(service: str, condition: Condition, statuses: Sequence[DependencyStatus]) -> str:
    """Return what keeps the dependency from the condition; an empty string while it starts as usual."""
    if not statuses:
        return f"{service} has no instance — `minikube scale {service}=1`"
    waiting = [status for status in statuses if not status.completed] if condition == "completed" else list(statuses)
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
            if state is ProcessState.STOPPED:
                return f"{status.name} {words} — `minikube start {status.name}`"
            return f"{status.name} {words}" + (f": {status.reason}" if status.reason else "")
    return ""
