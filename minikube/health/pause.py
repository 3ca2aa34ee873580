"""Detect that this process was paused: stopped, suspended with the machine, or starved of CPU. Pure: times are arguments.

A probe that was under way during a pause measured the pause, not the instance: its result must be ignored.
"""

PAUSE_S = 1.0
"""A gap between two ticks from which on the process counts as paused."""

TICK_S = 0.25
"""How often `PauseDetector.tick` is to be called."""


class PauseDetector:
    """Finds the times in which this process did not run, from calls that should come every `TICK_S`."""

    def __init__(self, monotonic: float, boottime: float) -> None:
        self._monotonic = monotonic
        self._boottime = boottime
        self._pause_end = float("-inf")

    def tick(self, monotonic: float, boottime: float) -> float:
        """Record that the process runs now. Return the length of the pause that just ended, 0.0 if there was none.

        Code that reads a probe result must call it first: after a pause the task that ticks may run last.
        """
        # CLOCK_MONOTONIC stands still while the machine is suspended, CLOCK_BOOTTIME does not: a gap in either counts.
        gap = max(monotonic - self._monotonic, boottime - self._boottime)
        self._monotonic, self._boottime = monotonic, boottime
        if gap < PAUSE_S:
            return 0.0
        self._pause_end = monotonic
        return gap

    def overlaps_pause(self, started: float) -> bool:
        """Return whether a pause ended between `started` (monotonic) and now."""
        return started <= self._pause_end
