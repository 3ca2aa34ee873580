"""A clock that is never set: Unix time as it would be if the wall clock had not been set since this process began.

Points in time are taken from it, so that ages stay right. Standard library only. It refuses to tell the time of day.
"""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # also goes on while the machine is suspended
_BASE = time.time() - time.clock_gettime(_CLOCK)


def steady_time() -> float:
    """Return the present point in time, in Unix seconds of the wall clock as it was when this process began."""
    return _BASE + time.clock_gettime(_CLOCK)


def clock_shift() -> float:
    """Return how many seconds the wall clock was set forward since this process began; below 0: back."""
    return time.time() - steady_time()
