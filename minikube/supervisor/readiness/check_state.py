"""The visible check state of an instance, from the supervisor's probes and the registry's; why it is not ready. Pure."""

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
    address: str = ""
    """Where lookups lead, for an instance that has registered itself; empty: at its address."""


class CheckFacts(Struct, frozen=True):
    """What is known of an instance's check, from which its visible state follows."""

    own: CheckState | None = None
    """The state by the supervisor's probes; None where it makes none."""
    own_output: str = ""
    registry: CheckState | None = None
    """The state of the registry's entry of the instance; None where it has none."""
    registry_output: str = ""
    is_registered: bool = False
    """Whether the instance has to be in the registry."""
    has_check: bool = False
    """Whether the registry or the supervisor checks the instance."""
    lookup_problem: str = ""
    """Why lookups do not find the instance whatever its entry says; empty where they do."""

    @property
    def state(self) -> CheckState | None:
        """The worst of what is known; None without a check. `passing` only where lookups find the instance."""
        state = merge_states(self._registry, self.own)
        if state is CheckState.PASSING and self.is_registered and self.lookup_problem:
            return CheckState.CRITICAL
        return state

    @property
    def output(self) -> str:
        """The output of the probe that decides on the state."""
        if not self.own_output:
            return self.registry_output
        # The registry's output counts where its state is the worse one: a lease that ran out, maintenance.
        is_worse = self.registry is not None and merge_states(self.registry, self.own) is not self.own
        return self.registry_output if is_worse else self.own_output

    @property
    def is_passing(self) -> bool:
        """Whether the instance passes in the registry, if it has to be registered, and by the supervisor's probes, if any."""
        if self.is_registered and (self.registry is not CheckState.PASSING or self.lookup_problem):
            return False
        return self.own in (None, CheckState.PASSING)

    def not_ready_reason(self, process: ProcessState, reason: str) -> str:
        """Return a line of text that says why the instance is not ready; empty while it is ready.

        `process` and `reason` are its lifecycle state and the text of that.
        """
        if not process.is_active:
            return reason
        line = first_line(self.output)
        is_missing = self.is_registered and self.registry is None
        match self.state:
            case CheckState.CRITICAL if (
                self.is_registered and self.lookup_problem and self.own is not CheckState.CRITICAL
            ):
                return self.lookup_problem
            case CheckState.CRITICAL:
                return f"check fails: {line}" if line else "check fails"
            case CheckState.MAINTENANCE:
                return f"in maintenance: {line}" if line and line != "maintenance" else "in maintenance"
            case CheckState.STARTING if is_missing and self.own is CheckState.PASSING:
                return "passes, but is not registered yet"
            case CheckState.STARTING if is_missing and not line:
                return "not registered yet"
            case CheckState.STARTING:
                return f"no passing check yet: {line}" if line else "no passing check yet"
            case None if is_missing:
                return "has not registered itself yet"
        return reason

    @property
    def _registry(self) -> CheckState | None:
        # A registered instance without an entry counts as starting, where something checks it.
        is_starting = self.registry is None and self.is_registered and self.has_check
        return CheckState.STARTING if is_starting else self.registry


def merge_states(registry: CheckState | None, own: CheckState | None) -> CheckState | None:
    """Return the worse of the registry's state and the state by the supervisor's probes (`own`); None without a check."""
    known = [state for state in (registry, own) if state is not None]
    return min(known, key=_WORST_FIRST.index, default=None)


def first_line(text: str) -> str:
    """Return the first line of a check's output that is not blank; empty where there is none."""
    return next((line for line in text.splitlines() if line.strip()), "").strip()
