"""What is wanted of an instance: by a user, by its schedule, by its check. Pure: a request in, the new desired state out.

    start               the process is to run; a removed instance ignores it
    stop                no process is to run, also not by the schedule; forgets a restart that has not begun
    restart             the running process is to end, and a new one to follow
    queue_restart       the same, but only when the roll-out reaches the instance; a start before that makes it unnecessary
    remove              stopped, for ever
    mark_unhealthy      the running process is to end because its check failed; the restart policy decides what follows

It holds the desired state only; the actual state is in `lifecycle`.
"""

from msgspec import Struct
from msgspec.structs import replace


class DesiredState(Struct, frozen=True):
    """What is wanted of an instance."""

    running: bool = True
    suspended: bool = False
    """Its schedule does not start it, because a user stopped it."""
    restart: bool = False
    """A new process is wanted in place of the running one."""
    restart_queued: bool = False
    """A roll-out is to restart it, but has not reached it yet."""
    unhealthy: str = ""
    """Why the running process is to end by its check's result; an empty string: it is not."""
    removed: bool = False

    @property
    def ends_process(self) -> bool:
        """Whether a running process is to be ended."""
        return not self.running or self.restart or bool(self.unhealthy)

    @property
    def ends_as_failure(self) -> bool:
        """Whether an end of the process by the supervisor counts as a failure: only its check asks for it."""
        return self.running and not self.restart and bool(self.unhealthy)


def scheduled(selected: bool) -> DesiredState:
    """Return the desired state of a scheduled instance before its first run. `selected`: `up` starts its service."""
    return DesiredState(running=False, suspended=not selected)


def start(desired: DesiredState) -> DesiredState:
    """Return the state after a request to start."""
    return desired if desired.removed else replace(desired, running=True, suspended=False)


def stop(desired: DesiredState) -> DesiredState:
    """Return the state after a request to stop."""
    return replace(desired, running=False, suspended=True, restart=False, restart_queued=False)


def restart(desired: DesiredState) -> DesiredState:
    """Return the state after a request to restart."""
    if desired.removed:
        return desired
    return replace(desired, running=True, suspended=False, restart=True, restart_queued=False)


def queue_restart(desired: DesiredState) -> DesiredState:
    """Return the state after a roll-out has begun that has not reached the instance yet."""
    return replace(desired, restart_queued=True) if desired.running and not desired.restart else desired


def unqueue_restart(desired: DesiredState) -> DesiredState:
    """Return the state after a roll-out has ended before it reached the instance."""
    return replace(desired, restart_queued=False)


def remove(desired: DesiredState) -> DesiredState:
    """Return the state after the removal of the instance."""
    return replace(stop(desired), removed=True)


def mark_unhealthy(desired: DesiredState, reason: str) -> DesiredState:
    """Return the state after the check has asked for an end of the running process."""
    return replace(desired, unhealthy=reason)


def on_exit(desired: DesiredState) -> DesiredState:
    """Return the state after the process has ended: the result of its check counts for that process alone."""
    return replace(desired, unhealthy="")


def on_restart(desired: DesiredState) -> DesiredState:
    """Return the state after the old process has ended: the next process is the one that the restart requested."""
    return replace(desired, restart=False)


def on_start(desired: DesiredState) -> DesiredState:
    """Return the state when a process is started: it is newer than every roll-out that was requested before."""
    return replace(desired, restart_queued=False)


def resume_schedule(desired: DesiredState, before: DesiredState) -> DesiredState:
    """Return the state of an instance that was stopped for a moment: its schedule counts again if it did `before`."""
    return replace(desired, suspended=before.suspended)
