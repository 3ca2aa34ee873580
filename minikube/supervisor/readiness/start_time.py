"""The start time of an instance's process, by which entries of earlier processes in the registry are recognized. Pure."""

from msgspec import Struct

from minikube.model import Instance

REGISTERED_PRECISION_S = 0.001
"""How exactly the registry keeps the time of a registration."""


class StartTime(Struct, frozen=True):
    """The time when a process of an instance was started, by the wall clock and by the monotonic clock."""

    wall: float
    """Unix seconds."""
    monotonic: float
    """Seconds by a clock that cannot be set."""
    steady: float = 0.0
    """Unix seconds of `minikube.clock.steady_time`, for users."""
    incarnation_before: int = 0
    """The incarnation of the entry that the registry had at the start; 0 for none."""

    def is_after(self, entry: Instance, wall: float, monotonic: float) -> bool:
        """Return whether `entry` was registered before this start. `wall` and `monotonic` are the present time by both clocks."""
        if self.incarnation_before and entry.incarnation == self.incarnation_before:
            return True
        # The wall clock may have been set back since the start: compare with the start by the clock as it is now.
        started = min(self.wall, wall - (monotonic - self.monotonic))
        return entry.registered + REGISTERED_PRECISION_S < started
