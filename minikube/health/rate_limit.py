"""How many probes an observer makes of those who want many (floor 2, pure).

Whoever registers may ask for a probe every 0.05 s, and whoever does not pass is asked every second: thousands of them
would take a whole core, and lookups would wait. They share a rate; with few of them nobody notices it. Those who pass
and ask for no more than usual have no part in it, and are asked when they are due.
"""

from minikube.health.state import Health, ProbeSettings
from minikube.model import CheckState

PROBES_PER_S = 500.0
"""A probe costs about 0.5 ms: that is a quarter of a core."""

USUAL_S = ProbeSettings().interval


class ProbeRateLimiter:
    """Belongs to one observer. No clock: `now` is an argument."""

    def __init__(self) -> None:
        self._taken = 0.0
        """Until when all turns are given out."""

    def due(self, health: Health, settings: ProbeSettings, now: float) -> float:
        """When the next probe is to be made, asked once after each."""
        if health.state is CheckState.PASSING and settings.interval >= USUAL_S:
            return health.due
        self._taken = max(self._taken, now) + 1 / PROBES_PER_S
        return max(health.due, self._taken)
