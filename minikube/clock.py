"""A clock that is never set: Unix time as it would be if the wall clock had not been set since this process began.

Points in time are taken from it, so that ages stay right. Standard library only. It refuses to tell the time of day.
"""

import time

LEAST_SHIFT_S = 1.0
"""A clock that differs by less was not set, but is being disciplined (ntpd)."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # also goes on while the machine is suspended
_BASE = time.time() - time.clock_gettime(_CLOCK)


def steady_time() -> float:
    """Return the present point in time, in Unix seconds of the wall clock as it was when this process began."""
    return _BASE + time.clock_gettime(_CLOCK)


def clock_shift() -> float:
    """Return how many seconds the wall clock was set forward since this process began; below 0: back."""
    return time.time() - steady_time()


def to_steady(moment: float) -> float:
    """Return a recent point in time of the wall clock by the steady clock."""
    shift = clock_shift()
    return moment - shift if abs(shift) >= LEAST_SHIFT_S else moment
