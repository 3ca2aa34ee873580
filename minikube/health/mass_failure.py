"""Detect that many instances stopped answering together. Pure: times are arguments.

Many time-outs at once are more likely a fault of this process or its network than of every instance. While a
`MassFailure` holds, the caller asks for one more time-out before it marks an instance critical.
"""

from msgspec import Struct

MIN_SILENT = 3
"""Fewer silent instances are no mass failure."""


class MassFailure(Struct, frozen=True):
    """A mass failure: `silent` of `probed` instances stopped answering together."""

    silent: int
    probed: int

    def __str__(self) -> str:
        return (
            f"{self.silent} of {self.probed} instances fell silent together: the fault may be the registry's own, "
            "so it probes each once more before it marks any critical"
        )


class MassFailureDetector:
    """Detects a mass failure from the latest probe result of each instance that passed before.

    A time-out always counts. An answer counts only if its probe started at or after the oldest time-out.
    """

    # Answers from before the silence must not outvote it: instances are probed every 5 s, and a time-out takes 2 s.

    def __init__(self) -> None:
        self._latest: dict[str, tuple[float, bool]] = {}
        self._silent_since: dict[str, float] = {}

    def record(self, key: str, started: float, *, timed_out: bool) -> None:
        """Record a probe of an instance that was passing when the probe started."""
        self._latest[key] = (started, timed_out)
        if timed_out:
            self._silent_since.setdefault(key, started)
        else:
            self._silent_since.pop(key, None)

    def forget(self, key: str) -> None:
        """Drop the results of an instance that was removed or is critical."""
        self._latest.pop(key, None)
        self._silent_since.pop(key, None)

    def detect(self) -> MassFailure | None:
        """Return the current mass failure, or None. It needs at least `MIN_SILENT` silent instances, and half of those probed."""
        silent = len(self._silent_since)
        if silent < MIN_SILENT:
            return None
        oldest = min(self._silent_since.values())
        probed = sum(1 for started, timed_out in self._latest.values() if timed_out or started >= oldest)
        return MassFailure(silent, probed) if 2 * silent >= probed else None
