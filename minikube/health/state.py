"""Decide an instance's check state and its next probe time from probe results. Pure: `now` and `jitter` are arguments.

The rules, in one place:

- An instance is `starting` until its first passing probe, whatever its probes return. The first pass makes it `passing`.
- A refused connection or an error response is a failure: `failures` of them since the last pass make it `critical`.
- A time-out is less certain: `timeouts` of them since the last pass make it `critical`. While a mass failure is
  suspected, the caller requires `extra_timeouts` more.
- `successes` passes in a row make a `critical` instance `passing` again.
- After a pass the next probe comes one interval later (±10 %), after the first miss 0.25 s later, then 1 s later.
- An instance that has not passed for `forget_after` is to be removed.

An instance with a `ttl:` check is not probed: it renews a lease, and a renewal counts as a pass.
The module refuses to know maintenance: that is the operator's decision and no matter of health.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from minikube.model import CheckState

JITTER = 0.10
"""Probes come at interval × (1 ± JITTER), so that a thousand instances are not probed at the same moment."""

FIRST_RETRY_S = 0.25
NEXT_RETRY_S = 1.0
MAX_OUTPUT_BYTES = 4096

REPORT_FROM_MISSES = 2
"""Misses in a row from which on watchers get the reason. The first refused connection is how every service starts."""

MIN_FORGET_S = 30.0
"""The least time that an instance is kept after another process has taken over its checks, unless `forget_after` is shorter."""

NEVER = float("inf")


class ProbeSettings(Struct, frozen=True, omit_defaults=True):
    """The thresholds of one instance. Durations are seconds; counts are at least 1."""

    # The registry stores this struct as JSON in Redis: field names are part of the stored form.
    interval: float = 5.0
    timeout: float = 2.0
    """For the whole exchange, connecting included."""
    failures: int = 1
    timeouts: int = 2
    successes: int = 1
    forget_after: float = 600.0
    lease: float = 15.0
    """For `ttl:` checks: the longest time between two renewals."""


class Outcome(StrEnum):
    """The outcome of one probe: a passing response, a failing response (or a refused connection), no response, or `unknown`
    where this process could not make the probe, for want of a descriptor, say: that is no fault of the instance."""

    PASS = "pass"
    FAIL = "fail"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class ProbeResult(Struct, frozen=True):
    """The result of one probe. `output` is the response or the reason for its absence; times are monotonic seconds."""

    outcome: Outcome
    output: str
    started: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """The duration of the probe."""
        return self.ended - self.started


class NextStep(StrEnum):
    """The action for an instance that is due."""

    FORGET = "forget"
    """Remove it: it has not passed for too long."""
    PROBE = "probe"
    START_LEASE = "start lease"
    """Count the registration of a `ttl:` instance as its first renewal."""
    EXTEND_LEASE = "extend lease"
    """Its lease is over, but this process was paused and may have missed the renewal: give it another lease."""
    EXPIRE_LEASE = "expire lease"
    WAIT = "wait"
    """Do nothing: it was renewed meanwhile and is not due any more."""


class Health(Struct, frozen=True):
    """The health of one instance. Counts are since the last pass; `successes` is since the last miss."""

    state: CheckState
    due: float
    """When the next probe is due (monotonic seconds); for a `ttl:` instance, when its lease ends."""
    forget_at: float = NEVER
    """When the instance is removed unless it passes before; infinite while it passes."""
    failures: int = 0
    timeouts: int = 0
    successes: int = 0


def new_health(now: float, settings: ProbeSettings) -> Health:
    """Return the health of a new registration: `starting`, not discoverable, probe due at once."""
    return Health(CheckState.STARTING, now, now + settings.forget_after)


def resumed_health(
    state: CheckState, now: float, settings: ProbeSettings, *, jitter: float, forget_in: float
) -> Health:
    """Return the health of an instance that another process (or this one before a restart) has probed before.

    Its stored state stays valid until the next result. A passing instance is probed within one interval, spread by
    `jitter` (0…1); any other one at once, and it is removed after `forget_in` seconds without a pass.
    """
    if state is CheckState.PASSING:
        return Health(state, now + settings.interval * jitter)
    return Health(state, now, now + forget_in)


def initial_health(
    state: CheckState,
    now: float,
    settings: ProbeSettings,
    *,
    just_registered: bool,
    is_ttl: bool,
    forget_in: float,
    jitter: float,
) -> Health:
    """Return the health of an instance in `state` for the start of its checks by this process.

    `just_registered` is False if another process checked it before. `forget_in` is the number of seconds until an instance
    that does not pass is removed, by the wall clock. `jitter` is as for `resumed_health`. A passing `ttl:` instance gets a
    full lease.
    """
    if just_registered and state is CheckState.STARTING:
        return new_health(now, settings)
    # The wall clock may have been set, so `forget_in` has a lower bound.
    forget_in = settings.forget_after if just_registered else max(forget_in, min(settings.forget_after, MIN_FORGET_S))
    health = resumed_health(state, now, settings, jitter=0.0 if just_registered else jitter, forget_in=forget_in)
    if is_ttl and state is not CheckState.STARTING:
        return replace(health, due=now + settings.lease if state is CheckState.PASSING else NEVER)
    return health


def next_step(health: Health, now: float, *, is_ttl: bool, has_result: bool, was_paused: bool) -> NextStep:
    """Return the action for an instance that is due.

    `has_result`: its first check has ended. `was_paused`: this process did not run for a part of the last lease.
    """
    if now >= health.forget_at:
        return NextStep.FORGET
    if not is_ttl:
        return NextStep.PROBE
    if health.state is CheckState.STARTING and not has_result:
        return NextStep.START_LEASE
    if was_paused:
        return NextStep.EXTEND_LEASE
    return NextStep.EXPIRE_LEASE if now >= health.due else NextStep.WAIT


def should_report(health: Health, reported: str, output: str) -> bool:
    """Return whether to send watchers `output` without a change of state: after repeated misses, if the reason is new.

    `reported` is the output that they were sent last.
    """
    return health.failures + health.timeouts >= REPORT_FROM_MISSES and _reason(output) != _reason(reported)


def _reason(output: str) -> str:
    """Return the reason at the start of a probe's output, without the response body: `404 Not Found`, `connection refused`."""
    # A body with a clock in it would otherwise be a new reason at each probe.
    return output.partition("\n")[0].partition(":")[0]


def after_probe(
    health: Health, result: ProbeResult, settings: ProbeSettings, now: float, *, jitter: float, extra_timeouts: int = 0
) -> Health:
    """Return the health after a probe with `result`. `jitter` is in 0…1; 0.5 makes the next delay exactly the interval."""
    if result.outcome is Outcome.PASS:
        return _after_pass(health, settings, now, jitter)
    if result.outcome is Outcome.UNKNOWN:
        return replace(health, due=now + min(NEXT_RETRY_S, settings.interval))
    timed_out = result.outcome is Outcome.TIMEOUT
    missed = replace(
        health,
        failures=health.failures + (not timed_out),
        timeouts=health.timeouts + timed_out,
        successes=0,
    )
    is_first_miss = missed.failures + missed.timeouts == 1
    retry = min(FIRST_RETRY_S if is_first_miss else NEXT_RETRY_S, settings.interval)
    missed = replace(missed, due=now + retry)
    # Time-outs and failures do not add up: each kind has its own threshold.
    is_over = missed.failures >= settings.failures or missed.timeouts >= settings.timeouts + extra_timeouts
    if health.state is CheckState.PASSING and is_over:
        return replace(missed, state=CheckState.CRITICAL, forget_at=now + settings.forget_after)
    return missed


def _after_pass(health: Health, settings: ProbeSettings, now: float, jitter: float) -> Health:
    successes = health.successes + 1
    if health.state is CheckState.CRITICAL and successes < settings.successes:
        due = now + min(NEXT_RETRY_S, settings.interval)
        return replace(health, successes=successes, failures=0, timeouts=0, due=due)
    due = now + settings.interval * (1 - JITTER + 2 * JITTER * jitter)
    return Health(CheckState.PASSING, due)


def after_renewal(health: Health, settings: ProbeSettings, now: float) -> Health:
    """Return the health of a `ttl:` instance that renewed its lease: one pass, due when the new lease ends."""
    passed = _after_pass(health, settings, now, 0.5)
    return replace(passed, due=now + settings.lease)


def after_expiry(health: Health, settings: ProbeSettings, now: float) -> Health:
    """Return the health of a `ttl:` instance after the end of its lease: no longer passing, and due only once it renews."""
    is_passing = health.state is CheckState.PASSING
    state = CheckState.CRITICAL if is_passing else health.state
    forget_at = now + settings.forget_after if is_passing else health.forget_at
    return Health(state, NEVER, forget_at, timeouts=health.timeouts + 1)


def after_critical_report(health: Health, settings: ProbeSettings, now: float) -> Health:
    """Return the health of a `ttl:` instance that reported itself critical: critical at once, until it renews."""
    forget_at = now + settings.forget_after if health.state is CheckState.PASSING else health.forget_at
    return Health(CheckState.CRITICAL, NEVER, forget_at, failures=health.failures + 1)
