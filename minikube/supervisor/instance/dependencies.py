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
    """It has ended with success, for good."""
    reason: str = ""
    """Why it is not ready."""


def unmet_condition(service: str, condition: Condition, statuses: Sequence[DependencyStatus]) -> str:
    """Return a text that says why services which depend on `service` cannot start yet; empty when they can.

    `statuses` are those of the instances of `service`. The conditions `started` and `healthy` need one such instance,
    `completed` needs all of them to have ended with success.
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
    """Return a text that names the instance which keeps `service` from the condition; empty while it starts as usual."""
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
