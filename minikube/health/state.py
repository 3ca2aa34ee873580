"""From probe results and time to a verdict and the time of the next probe (floor 2, pure).

The rules, in one place:

- before the first pass an instance is `starting`, whatever its probes say; its first pass makes it `passing`
- a refusal or a bad answer is the service's own word: `failures` of them since the last pass make it `critical`
- a time-out is doubt: `timeouts` of them since the last pass make it `critical`; an observer that doubts itself asks
  for `extra` more
- from `critical` back: `successes` passes in a row
- after a pass the next probe comes one interval later (±10 %), else sooner: 0.25 s after the first miss, then 1 s
- an instance that has not been passing for `forget_after` is to be forgotten

No clock, no randomness, no I/O: `now` and `jitter` are arguments. Maintenance is not a matter of health and is
unknown here.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from minikube.model import CheckState

JITTER = 0.10
"""Probes come at interval × (1 ± JITTER), so that a thousand instances do not fire together."""

FIRST_RETRY_S = 0.25
NEXT_RETRY_S = 1.0
MAX_OUTPUT_BYTES = 4096

TOLD_FROM = 2
"""Misses in a row from which on watchers are told why an instance does not pass, and whenever the reason is another one.
The first refusal is how every service starts."""

GRACE_S = 30.0
"""An observer that has just started (or taken over) knows an absent instance at least so long, unless told less."""


class ProbeSettings(Struct, frozen=True, omit_defaults=True):
    """How one instance is judged. Durations are seconds; counts are at least 1."""

    interval: float = 5.0
    timeout: float = 2.0
    """For the whole exchange, connecting included."""
    failures: int = 1
    timeouts: int = 2
    successes: int = 1
    forget_after: float = 600.0
    lease: float = 15.0
    """For `ttl:` checks: the longest silence between two renewals."""


class Outcome(StrEnum):
    """What one probe met: an answer that passes, an answer that does not (or a refusal), or silence."""

    PASS = "pass"
    FAIL = "fail"
    TIMEOUT = "timeout"


class ProbeResult(Struct, frozen=True):
    """One probe. `output` is the service's own words or ours about them; stamps are the observer's monotonic clock."""

    outcome: Outcome
    output: str
    began: float = 0.0
    ended: float = 0.0


class Step(StrEnum):
    """What is to be done with an instance whose time has come."""

    FORGET = "forget"
    PROBE = "probe"
    ADMIT = "admit"
    """It renews its lease, and registering counts for the first renewal."""
    EXCUSE = "excuse"
    """Its lease is over, but the observer could not have heard it: it has another one."""
    LAPSE = "lapse"
    WAIT = "wait"
    """It was put off meanwhile."""


class Health(Struct, frozen=True):
    """Where one instance stands. Counts are since the last pass (`successes`: since the last miss)."""

    state: CheckState
    due: float
    """When the next probe is to be made."""
    forget_at: float = float("inf")
    """When an instance that does not pass until then is to be forgotten; infinite while it passes."""
    failures: int = 0
    timeouts: int = 0
    successes: int = 0


def new_health(now: float, settings: ProbeSettings) -> Health:
    """A fresh registration: not discoverable, probed at once."""
    return Health(CheckState.STARTING, now, now + settings.forget_after)


def resumed_health(state: CheckState, now: float, settings: ProbeSettings, *, jitter: float, grace: float) -> Health:
    """An entry that another observer (or our last life) judged: its verdict stands until probes say otherwise.

    `jitter` in 0…1 spreads the first probes over one interval where the instance passes; the others are probed at
    once. `grace` is how long a non-passing one is known at least from now on.
    """
    if state is CheckState.PASSING:
        return Health(state, now + settings.interval * jitter)
    return Health(state, now, now + grace)


def first_health(
    state: CheckState, now: float, settings: ProbeSettings, *, fresh: bool, leased: bool, left: float, jitter: float
) -> Health:
    """Where an instance stands when an observer takes it up. `fresh`: it has just registered (again).

    `left` is how many seconds are left to it as an absent one, as far as is known. `leased`: it is not probed but renews
    its lease, whose length it has from now on. `jitter` as in `resumed_health`.
    """
    if fresh and state is CheckState.STARTING:
        return new_health(now, settings)
    grace = settings.forget_after if fresh else max(left, min(settings.forget_after, GRACE_S))
    health = resumed_health(state, now, settings, jitter=0.0 if fresh else jitter, grace=grace)
    if leased and state is not CheckState.STARTING:
        return replace(health, due=now + settings.lease if state is CheckState.PASSING else float("inf"))
    return health


def next_step(health: Health, now: float, *, leased: bool, admitted: bool, deaf: bool) -> Step:
    """What to do with an instance that is due. `admitted`: it has had a first verdict; `deaf`: the observer did not run
    for a part of the last lease."""
    if now >= health.forget_at:
        return Step.FORGET
    if not leased:
        return Step.PROBE
    if health.state is CheckState.STARTING and not admitted:
        return Step.ADMIT
    if deaf:
        return Step.EXCUSE
    return Step.LAPSE if now >= health.due else Step.WAIT


def is_news(health: Health, known: str, output: str) -> bool:
    """Whether those who watch an instance are to hear what its last probe met, though its state stays."""
    return health.failures + health.timeouts >= TOLD_FROM and _gist(output) != _gist(known)


def _gist(output: str) -> str:
    """What a probe met, without the service's own words: `404 Not Found`, `connection refused`."""
    return output.partition("\n")[0].partition(":")[0]


def after_probe(
    health: Health, result: ProbeResult, settings: ProbeSettings, now: float, *, jitter: float, extra: int = 0
) -> Health:
    """The state after `result`, which ended at about `now`. `jitter` is in 0…1 (0.5: exactly the interval)."""
    if result.outcome is Outcome.PASS:
        return _after_pass(health, settings, now, jitter)
    timed_out = result.outcome is Outcome.TIMEOUT
    missed = replace(
        health,
        failures=health.failures + (not timed_out),
        timeouts=health.timeouts + timed_out,
        successes=0,
    )
    first = missed.failures + missed.timeouts == 1
    retry = min(FIRST_RETRY_S if first else NEXT_RETRY_S, settings.interval)
    missed = replace(missed, due=now + retry)
    fallen = missed.failures >= settings.failures or missed.timeouts >= settings.timeouts + extra
    if health.state is CheckState.PASSING and fallen:
        return replace(missed, state=CheckState.CRITICAL, forget_at=now + settings.forget_after)
    return missed


def _after_pass(health: Health, settings: ProbeSettings, now: float, jitter: float) -> Health:
    successes = health.successes + 1
    if health.state is CheckState.CRITICAL and successes < settings.successes:
        due = now + min(NEXT_RETRY_S, settings.interval)
        return replace(health, successes=successes, failures=0, timeouts=0, due=due)
    due = now + settings.interval * (1 - JITTER + 2 * JITTER * jitter)
    return Health(CheckState.PASSING, due)


def lease_pass(settings: ProbeSettings, health: Health, now: float) -> Health:
    """A `ttl:` instance renewed: one pass. Its next "probe" is the moment its lease runs out."""
    passed = _after_pass(health, settings, now, 0.5)
    return replace(passed, due=now + settings.lease)


def lease_lapsed(settings: ProbeSettings, health: Health, now: float) -> Health:
    """A `ttl:` instance was silent for its whole lease: critical at once, and nothing is asked until it renews."""
    state = CheckState.CRITICAL if health.state is CheckState.PASSING else health.state
    forget_at = now + settings.forget_after if health.state is CheckState.PASSING else health.forget_at
    return Health(state, float("inf"), forget_at, timeouts=health.timeouts + 1)


def lease_failed(settings: ProbeSettings, health: Health, now: float) -> Health:
    """A `ttl:` instance said that it is not well: critical at once, and nothing is asked until it renews."""
    forget_at = now + settings.forget_after if health.state is CheckState.PASSING else health.forget_at
    return Health(CheckState.CRITICAL, float("inf"), forget_at, failures=health.failures + 1)
