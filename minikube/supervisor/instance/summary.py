"""What is said of an instance (floor 3, pure): its check's state from two observers, and why it is not ready, in one line."""

from minikube.model import CheckState, Instance, InstanceView, ProcessState
from minikube.supervisor.instance.lifecycle import InstanceState

_WORST_FIRST = (CheckState.MAINTENANCE, CheckState.CRITICAL, CheckState.STARTING, CheckState.PASSING)


def check_state(registry: CheckState | None, own: CheckState | None, *, reported: bool) -> CheckState | None:
    """The worse of what the registry and our own probe say; None where nobody checks.

    `reported`: the registry only repeats what we told it, a moment later; what it adds is maintenance.
    """
    if reported and registry is not CheckState.MAINTENANCE:
        return own
    known = [one for one in (registry, own) if one is not None]
    return min(known, key=_WORST_FIRST.index, default=None)


def why_not_ready(life: InstanceState, check: CheckState | None, output: str, *, registered: bool, known: bool) -> str:
    """One line; empty for what is as it should be. `registered`: the registry is to know it; `known`: it does."""
    if not life.state.is_active:
        return life.reason
    said = first_line(output)
    match check:
        case CheckState.CRITICAL:
            return f"check fails: {said}" if said else "check fails"
        case CheckState.MAINTENANCE:
            return f"in maintenance: {said}" if said and said != "maintenance" else "in maintenance"
        case CheckState.STARTING if registered and not known and not said:
            return "not registered yet"
        case CheckState.STARTING:
            return f"no passing check yet: {said}" if said else "no passing check yet"
        case CheckState.PASSING if registered and not known:
            return "passes, but is not registered yet"
        case None if registered and not known:
            return "has not registered itself yet"
    return life.reason


def first_line(text: str) -> str:
    """Of a check's output: the first line that says something."""
    return next((line for line in text.splitlines() if line.strip()), "").strip()


def last_line(lines: tuple[str, ...]) -> str:
    """The last one that says something: where most programs put their reason."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def external(found: Instance) -> InstanceView:
    """The row of an instance that somebody else runs and registered."""
    return InstanceView(
        id=found.uuid,
        service=found.name,
        name=f"{found.name}-{found.uuid}",
        state=ProcessState.RUNNING,
        check=found.state,
        output=found.output,
        check_since=found.since,
        checked=found.checked,
        address=str(found.addr),
        health=found.health_check,
        started=found.registered,
        since=found.registered,
    )
