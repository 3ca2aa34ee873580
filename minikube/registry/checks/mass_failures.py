"""Watch for mass failures among this node's instances, log their begin and end, and keep them for `Discovery.Status`."""

import logging
import time

from minikube.health.mass_failure import MassFailureDetector

LOGGER = logging.getLogger("minikube.registry")

LARGE_SHARE = 512
"""With more instances than this, mass failures are looked for at most every `DETECT_S`: each time reads all results."""

DETECT_S = 0.05


class MassFailureMonitor:
    """Detects mass failures of this node's instances, and logs when one begins and ends."""

    def __init__(self) -> None:
        self.current = ""
        """The text of the mass failure that lasts now; empty: none."""
        self.last = (0.0, "")
        """When (Unix seconds) the last mass failure began, and its text: it may be over before a client asks."""
        self._detector = MassFailureDetector()
        self._detected_at = 0.0

    def record(self, id_: str, started: float, *, timed_out: bool) -> None:
        """Record a probe of an instance that was passing when the probe started (monotonic seconds)."""
        self._detector.record(id_, started, timed_out=timed_out)

    def forget(self, id_: str) -> None:
        """Drop an instance that was removed or is critical."""
        self._detector.forget(id_)

    def extra_timeouts(self, now: float, share: int) -> int:
        """Detect a mass failure; return how many additional time-outs an instance needs to become critical: 1 or 0.

        `share` is how many instances this node checks.
        """
        if share > LARGE_SHARE and now - self._detected_at < DETECT_S:
            return 1 if self.current else 0
        self._detected_at = now
        failure = self._detector.detect()
        text = str(failure) if failure else ""
        if bool(text) != bool(self.current):
            LOGGER.warning("%s", text or "the mass failure is over")
            if text:
                self.last = (time.time(), text)
        self.current = text
        return 1 if failure else 0
