"""What the supervisor's probes of an instance add up to, and when a hung instance is restarted. Pure.

Passing and critical follow the rules of `minikube.health.state`. `restart_after` counts every probe in a row that did not
pass, time-outs included. Before the first pass it counts only probes that ended `start_period` or more after the start.
Times and jitter are arguments.
"""

from msgspec import Struct

from minikube.health.state import Health, Outcome, ProbeResult, ProbeSettings, after_probe, new_health
from minikube.manifest import HealthSpec
from minikube.model import CheckState


class ProbeStatus(Struct, frozen=True):
    """The state of an instance by the supervisor's probes alone."""

    health: Health
    misses: int = 0
    """Probes in a row that did not pass and count for `restart_after`."""
    output: str = ""

    @property
    def state(self) -> CheckState:
        return self.health.state

    @property
    def due(self) -> float:
        """When to make the next probe (trio's clock, seconds); infinity for never."""
        return self.health.due


def probe_settings(spec: HealthSpec) -> ProbeSettings:
    """Return the thresholds of a manifest check in the form that `minikube.health.state` takes."""
    return ProbeSettings(
        interval=spec.interval,
        timeout=spec.timeout,
        failures=spec.failures,
        timeouts=spec.timeouts,
        successes=spec.successes,
    )


def new_probe_status(spec: HealthSpec, now: float) -> ProbeStatus:
    """Return the status of a process that was just started. Its first probe is due immediately."""
    return ProbeStatus(new_health(now, probe_settings(spec)))


def update_probe_status(
    status: ProbeStatus, result: ProbeResult, spec: HealthSpec, *, started: float, now: float, jitter: float
) -> ProbeStatus:
    """Return the status after one more probe with `result`.

    `started` is when the process was started. `jitter`, from 0 to 1, spreads the time of the next probe.
    """
    health = after_probe(status.health, result, probe_settings(spec), now, jitter=jitter)
    if result.outcome is Outcome.PASS:
        return ProbeStatus(health, 0, result.output)
    if result.outcome is Outcome.UNKNOWN:
        return ProbeStatus(health, status.misses, status.output)
    counts = status.state is not CheckState.STARTING or now - started >= spec.start_period
    return ProbeStatus(health, status.misses + counts, result.output)


def is_hung(status: ProbeStatus, spec: HealthSpec) -> bool:
    """Return whether the instance has failed so many probes in a row that it is to be restarted (`restart_after`)."""
    return 0 < spec.restart_after <= status.misses
