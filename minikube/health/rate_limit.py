"""Limit the probes that one process sends for instances that want many. Pure: `now` is an argument.

A registration may ask for a probe every 0.05 s, and an instance that does not pass is probed every second. Thousands of
those would take a whole core, and lookups would wait. They share `PROBES_PER_S`; with few of them no probe is delayed.
"""

from minikube.health.state import Health, ProbeSettings
from minikube.model import CheckState

PROBES_PER_S = 500.0
"""A probe costs about 0.5 ms of CPU: this is a quarter of a core."""

DEFAULT_INTERVAL_S = ProbeSettings().interval


class ProbeRateLimiter:
    """Spreads the probes of one process over time, so that it sends at most `PROBES_PER_S`."""

    def __init__(self) -> None:
        self._given_until = 0.0
        """All slots before this time are given out."""

    def next_probe_at(self, health: Health, settings: ProbeSettings, now: float) -> float:
        """Return the time (in the unit of `now`) at which the instance's next probe may run. Call it once for each probe."""
        # Passing instances with the default interval or a longer one are exempt: a flood must not delay them.
        if health.state is CheckState.PASSING and settings.interval >= DEFAULT_INTERVAL_S:
            return health.due
        self._given_until = max(self._given_until, now) + 1 / PROBES_PER_S
        return max(health.due, self._given_until)
