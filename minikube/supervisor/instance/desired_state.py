"""The desired state of an instance, as users, its schedule and its check request it. Pure: each function returns a new state.

    start               the process is to run; a removed instance ignores it
    stop                no process is to run, also not by the schedule; forgets a restart that has not begun
    restart             the running process is to end, and a new one to follow
    queue_restart       the same, but only when the roll-out reaches the instance; a start before that makes it unnecessary
    remove              no process is to run, and later requests to start are ignored
    mark_unhealthy      the running process is to end because its check failed; the restart policy decides what follows

It holds the desired state only; the actual state is in `lifecycle`.
"""

from msgspec import Struct
from msgspec.structs import replace


class DesiredState(Struct, frozen=True):
    """The desired state of an instance: running or not, and whether its present process is to be replaced."""

    running: bool = True
    suspended: bool = False
    """Its schedule does not start it, because a user stopped it."""
    restart: bool = False
    """A new process is wanted in place of the running one."""
    restart_queued: bool = False
    """A roll-out is to restart it, but has not reached it yet."""
    unhealthy: str = ""
    """The reason to end the running process because its check fails; empty while there is none."""
    removed: bool = False

    @property
    def ends_process(self) -> bool:
        """Whether the supervisor has to end the running process."""
        return not self.running or self.restart or bool(self.unhealthy)

    @property
    def expects_end(self) -> bool:
        """Whether a request is to stop or replace the running process, now or soon: its end is then that of the request."""
        return not self.running or self.restart or self.restart_queued

    @property
    def ends_as_failure(self) -> bool:
        """Whether the end of the process counts as a failure for the restart policy.

        It does when only the failed check asks for it, and neither a stop nor a restart was requested.
        """
        return self.running and not self.restart and bool(self.unhealthy)


def scheduled(selected: bool) -> DesiredState:
    """Return the desired state of a new instance with a schedule: stopped until the schedule is due.

    Where `up` does not start its service (`selected` is false), the schedule is suspended.
    """
    return DesiredState(running=False, suspended=not selected)


def start(desired: DesiredState) -> DesiredState:
    """Return the desired state after a request to start. A removed instance stays removed."""
    return desired if desired.removed else replace(desired, running=True, suspended=False)


def stop(desired: DesiredState) -> DesiredState:
    """Return the desired state after a request to stop: not running, its schedule suspended, no restart pending."""
    return replace(desired, running=False, suspended=True, restart=False, restart_queued=False)


def restart(desired: DesiredState) -> DesiredState:
    """Return the desired state after a request to replace the process. A removed instance stays removed."""
    if desired.removed:
        return desired
    return replace(desired, running=True, suspended=False, restart=True, restart_queued=False)


def queue_restart(desired: DesiredState) -> DesiredState:
    """Return the desired state of an instance that a roll-out will restart later."""
    return replace(desired, restart_queued=True) if desired.running and not desired.restart else desired


def unqueue_restart(desired: DesiredState) -> DesiredState:
    """Return the desired state of an instance that a roll-out was to restart, but will not."""
    return replace(desired, restart_queued=False)


def remove(desired: DesiredState) -> DesiredState:
    """Return the desired state after a request to remove: stopped, and later requests to start are ignored."""
    return replace(stop(desired), removed=True)


def mark_unhealthy(desired: DesiredState, reason: str) -> DesiredState:
    """Return the desired state after the check has failed `restart_after` times; `reason` is the text for the event."""
    return replace(desired, unhealthy=reason)


def on_exit(desired: DesiredState) -> DesiredState:
    """Return the desired state after the process has ended: the failure of its check is forgotten."""
    return replace(desired, unhealthy="")


def on_restart(desired: DesiredState) -> DesiredState:
    """Return the desired state when the old process has ended and a new start begins: the restart is done."""
    return replace(desired, restart=False)


def on_start(desired: DesiredState) -> DesiredState:
    """Return the desired state when a process is started: a queued restart is not needed any more."""
    return replace(desired, restart_queued=False)


def resume_schedule(desired: DesiredState, before: DesiredState) -> DesiredState:
    """Return the desired state with the schedule suspended only if it was in `before`."""
    return replace(desired, suspended=before.suspended)
