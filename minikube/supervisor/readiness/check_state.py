"""The check state of an instance, merged from the supervisor's probes and the registry's; the reason why it is not ready. Pure."""

from msgspec import Struct

from minikube.model import CheckState, ProcessState

_WORST_FIRST = (CheckState.MAINTENANCE, CheckState.CRITICAL, CheckState.STARTING, CheckState.PASSING)


class CheckSummary(Struct, frozen=True):
    """The state and output of an instance's check, as users see it. Times are Unix seconds, 0 for never."""

    state: CheckState | None = None
    """None for an instance without a check."""
    output: str = ""
    """The output of the last probe."""
    since: float = 0.0
    """When `state` was entered."""
    checked: float = 0.0
    """When the last probe was made."""


def merge_states(registry: CheckState | None, own: CheckState | None, *, reported: bool) -> CheckState | None:
    """Return the worse of the registry's state and the state by the supervisor's probes (`own`); None without a check.

    `reported`: the supervisor reports its check to the registry (`ttl:`), so `own` is newer, and the registry's state
    counts only while it is `maintenance`.
    """
    if reported and registry is not CheckState.MAINTENANCE:
        return own
    known = [state for state in (registry, own) if state is not None]
    return min(known, key=_WORST_FIRST.index, default=None)


def not_ready_reason(
    process: ProcessState, reason: str, check: CheckState | None, output: str, *, registered: bool, has_entry: bool
) -> str:
    """Return a line of text that says why an instance is not ready; empty while it is ready.

    `process` and `reason` are its lifecycle state and the text of that. `check` and `output` are the state of its check
    and the output of the last probe. `registered`: it has to be in the registry. `has_entry`: it is there.
    """
    if not process.is_active:
        return reason
    line = first_line(output)
    missing = registered and not has_entry
    match check:
        case CheckState.CRITICAL:
            return f"check fails: {line}" if line else "check fails"
        case CheckState.MAINTENANCE:
            return f"in maintenance: {line}" if line and line != "maintenance" else "in maintenance"
        case CheckState.STARTING if missing and not line:
            return "not registered yet"
        case CheckState.STARTING:
            return f"no passing check yet: {line}" if line else "no passing check yet"
        case CheckState.PASSING if missing:
            return "passes, but is not registered yet"
        case None if missing:
            return "has not registered itself yet"
    return reason


def first_line(text: str) -> str:
    """Return the first line of a check's output that is not blank; empty where there is none."""
    return next((line for line in text.splitlines() if line.strip()), "").strip()
