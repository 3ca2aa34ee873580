"""When the observer is to be doubted before the observed (floor 2, pure).

Two cases. Silence of many at once is more likely ours than theirs: `SilenceWatch` says so. And whatever was measured
across a pause of this very process (stopped, suspended, starved) says nothing: `PauseWatch` finds the pauses.
Times come in as arguments; nothing here acts.
"""

from msgspec import Struct

MIN_SILENT = 3
"""Fewer than this is not "together"."""

PAUSE_S = 1.0
"""A gap between two beats (sent every `BEAT_S`) from which on this process is taken to have been paused."""

BEAT_S = 0.25


class MassFailure(Struct, frozen=True):
    """`silent` of `asked` instances fell silent together."""

    silent: int
    asked: int

    def __str__(self) -> str:
        return (
            f"{self.silent} of {self.asked} instances fell silent together: the registry doubts itself "
            "and asks each once more before it removes any"
        )


class SilenceWatch:
    """The last word of each instance that was thought well; tells whether silence is general.

    A sweep is everything asked since the oldest unanswered question now open: only instances whose latest probe
    began at or after it count, so that yesterday's answers do not outvote today's silence.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, bool]] = {}
        self._onset: dict[str, float] = {}

    def note(self, key: str, began: float, *, silent: bool) -> None:
        """Take a result of an instance that was passing when it was asked."""
        self._last[key] = (began, silent)
        if silent:
            self._onset.setdefault(key, began)
        else:
            self._onset.pop(key, None)

    def forget(self, key: str) -> None:
        """The instance is gone, or known to be unwell: it has no part in a general silence any more."""
        self._last.pop(key, None)
        self._onset.pop(key, None)

    def doubt(self) -> MassFailure | None:
        """Three or more silent, and half or more of all that were asked in the sweep."""
        silent = len(self._onset)
        if silent < MIN_SILENT:
            return None
        onset = min(self._onset.values())
        asked = sum(1 for began, quiet in self._last.values() if quiet or began >= onset)
        return MassFailure(silent, asked) if 2 * silent >= asked else None


class PauseWatch:
    """Finds the times in which this process did not run, from beats that ought to come every `BEAT_S`.

    Feed it two clocks: `monotonic` stands still while the machine sleeps, `boottime` does not; a gap in either is
    a pause. Every reader of results beats too, since after a pause nobody knows which task wakes first.
    """

    def __init__(self, monotonic: float, boottime: float) -> None:
        self._monotonic = monotonic
        self._boottime = boottime
        self._pause_end = float("-inf")

    def beat(self, monotonic: float, boottime: float) -> float:
        """Note that we run now. Returns the length of the pause that just ended, 0.0 where there was none."""
        gap = max(monotonic - self._monotonic, boottime - self._boottime)
        self._monotonic, self._boottime = monotonic, boottime
        if gap < PAUSE_S:
            return 0.0
        self._pause_end = monotonic
        return gap

    def spoiled(self, began: float) -> bool:
        """Whether a measurement that began at `began` (monotonic) and ended by now overlapped a pause."""
        return began <= self._pause_end
