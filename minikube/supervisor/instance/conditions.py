"""Whether what a service depends on is there, and if not, why (floor 3, pure)."""

from collections.abc import Sequence

from msgspec import Struct

from minikube.manifest import Condition
from minikube.model import ProcessState


class DependencyStatus(Struct, frozen=True):
    """One instance of a dependency. `ready`: it passes, or has no check and is well; `why`: what keeps it from that."""

    name: str
    state: ProcessState
    ready: bool = False
    completed: bool = False
    why: str = ""


def unmet(name: str, condition: Condition, standings: Sequence[DependencyStatus]) -> str:
    """Why a dependent cannot start yet, in one line; empty when it can.

    `started` and `healthy` need one instance, `completed` needs all to have ended with success.
    """
    if condition == "completed":
        met = bool(standings) and all(one.completed for one in standings)
    elif condition == "started":
        met = any(one.state.is_active or one.state is ProcessState.EXITED for one in standings)
    else:
        met = any(one.ready for one in standings)
    if met:
        return ""
    trouble = _trouble(name, condition, standings)
    return f"waiting for {name} to be {condition}" + (f": {trouble}" if trouble else "")


def _trouble(name: str, condition: Condition, standings: Sequence[DependencyStatus]) -> str:
    """What is said of the one that is in the way; empty while all goes its usual way."""
    if not standings:
        return f"{name} has no instance — `minikube scale {name}=1`"
    waiting = [one for one in standings if not one.completed] if condition == "completed" else list(standings)
    for state, words in (
        (ProcessState.FATAL, "is fatal"),
        (ProcessState.EXITED, "has ended"),
        (ProcessState.BACKOFF, "is in backoff"),
        (ProcessState.STOPPED, "is stopped"),
        (ProcessState.STOPPING, "is being stopped"),
        (ProcessState.PENDING, "is itself pending"),
        (ProcessState.RUNNING, "runs"),
    ):
        for one in waiting:
            if one.state is not state or (state is ProcessState.RUNNING and not one.why):
                continue
            if state is ProcessState.STOPPED:
                return f"{one.name} {words} — `minikube start {one.name}`"
            return f"{one.name} {words}" + (f": {one.why}" if one.why else "")
    return ""
