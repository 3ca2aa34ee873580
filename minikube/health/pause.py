"""Detect that this process was paused: stopped, suspended with the machine, or starved of CPU. Pure: times are arguments.

A probe that was under way during a pause measured the pause, not the instance: its result must be ignored.
"""

PAUSE_S = 1.0
"""The least time between two ticks that counts as a pause of the process."""

TICK_S = 0.25
"""The seconds between two calls of `PauseDetector.tick`."""


class PauseDetector:
    """Detects pauses of this process, in which it did not run, from the time between calls of `tick`, due every `TICK_S`."""

    def __init__(self, monotonic: float, boottime: float) -> None:
        self._monotonic = monotonic
        self._boottime = boottime
        self._pause_end = float("-inf")

    def tick(self, monotonic: float, boottime: float) -> float:
        """Record that the process runs now, and return the seconds of the pause that just ended; 0.0 if there was none.

        The arguments are the readings of CLOCK_MONOTONIC and CLOCK_BOOTTIME in seconds. Call it also before reading a probe
        result: after a pause, the task that calls it regularly may run later than the one that reads the result.
        """
        # CLOCK_MONOTONIC stands still while the machine is suspended, CLOCK_BOOTTIME does not: a gap in either counts.
        gap = max(monotonic - self._monotonic, boottime - self._boottime)
        self._monotonic, self._boottime = monotonic, boottime
        if gap < PAUSE_S:
            return 0.0
        self._pause_end = monotonic
        return gap

    def overlaps_pause(self, started: float) -> bool:
        """Return whether a pause ended after `started` (monotonic seconds)."""
        return started <= self._pause_end
