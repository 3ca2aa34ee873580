"""What the supervisor's own probes of an instance add up to (floor 3, pure): `probe.health`, and when a hung one is restarted.

`restart_after` counts every probe in a row that did not pass, time-outs included; before the first pass only those that
ended `start_period` or more after the start. No clock and no I/O: times and jitter are arguments.
"""

from msgspec import Struct

from minikube.health.state import Health, Outcome, ProbeResult, ProbeSettings, after_probe, new_health
from minikube.manifest import HealthSpec
from minikube.model import CheckState


class ProbeStatus(Struct, frozen=True):
    """Where an instance stands by its own supervisor's probes."""

    health: Health
    misses: int = 0
    """In a row, as far as they count."""
    output: str = ""

    @property
    def state(self) -> CheckState:
        return self.health.state

    @property
    def due(self) -> float:
        """When to probe next."""
        return self.health.due


def settings_of(spec: HealthSpec) -> ProbeSettings:
    """The manifest's thresholds as the registry's rules take them."""
    return ProbeSettings(
        interval=spec.interval,
        timeout=spec.timeout,
        failures=spec.failures,
        timeouts=spec.timeouts,
        successes=spec.successes,
    )


def new_probe_status(spec: HealthSpec, now: float) -> ProbeStatus:
    """A fresh process: probed at once."""
    return ProbeStatus(new_health(now, settings_of(spec)))


def update_probe_status(
    verdict: ProbeStatus, result: ProbeResult, spec: HealthSpec, *, started: float, now: float, jitter: float
) -> ProbeStatus:
    """After one more probe. `jitter` is in 0…1, `started` is when the process was."""
    health = after_probe(verdict.health, result, settings_of(spec), now, jitter=jitter)
    if result.outcome is Outcome.PASS:
        return ProbeStatus(health, 0, result.output)
    counts = verdict.state is not CheckState.STARTING or now - started >= spec.start_period
    return ProbeStatus(health, verdict.misses + counts, result.output)


def is_hung(verdict: ProbeStatus, spec: HealthSpec) -> bool:
    """Whether it is to be ended and started again."""
    return 0 < spec.restart_after <= verdict.misses
