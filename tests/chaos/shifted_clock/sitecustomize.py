"""Give a Python process a wall clock that a file moves: `time.time()` is that of the machine and the seconds in CHAOS_CLOCK.

Python imports this module by its name, where its directory is on the path. Redis has libfaketime, which follows the same file.
Python cannot have libfaketime 0.9.10: it moves the absolute times of `clock_nanosleep`, which `time.sleep` asks for, also with
DONT_FAKE_MONOTONIC, so that `time.sleep` fails with EINVAL.
"""

import os
import time

READ_EVERY_S = 0.25


def shift(path: str) -> None:
    """Replace `time.time` by a clock that follows the file; where it cannot be read, the clock is right."""
    machine, monotonic = time.time, time.monotonic
    next_read, offset = 0.0, 0.0

    def shifted() -> float:
        nonlocal next_read, offset
        now = monotonic()
        if now >= next_read:
            next_read = now + READ_EVERY_S
            try:
                with open(path) as file:
                    offset = float(file.read())
            except (OSError, ValueError):
                offset = 0.0
        return machine() + offset

    time.time = shifted


if "CHAOS_CLOCK" in os.environ:
    shift(os.environ["CHAOS_CLOCK"])
