"""One instance's life (floor 3, pure): what happened and when, in; the next state and the next try, out.

    stopped ─► pending ─► starting ─► running ─► backoff ─► (pending …)      always, and on-failure after a failure
                             │           └─────► exited                      never, and on-failure after exit 0
                             └─► backoff, or fatal after `limit` failed starts in a row

The rules are spec §5's. An instance is *well* once it passed its check or, without one, lived a second. A well one that
dies is restarted at once the first time, then after `delay`, doubling to `max_delay`, for as long as each life ends within
60 s of its start; it is never given up. One that dies before it was well has failed to start: always a delay, and
`fatal` after `limit` of those in a row. A shortage of the machine (no process, no descriptor, no memory) is nobody's failed
start: it waits and tries again for ever.

Times are monotonic seconds, jitter is a number from -1 to 1; both come in as arguments. It refuses to start or wait.
"""

import signal
from typing import Protocol

import msgspec
from msgspec import Struct

from minikube.model import ProcessState

WELL_AFTER_S = 1.0
"""How long an instance without a check lives before it counts as well."""

QUICK_DEATH_S = 60.0
"""A life shorter than this makes the next delay longer."""

JITTER = 0.2


class Policy(Protocol):
    """What of `manifest.RestartSpec` is needed here."""

    @property
    def policy(self) -> str: ...
    @property
    def delay(self) -> float: ...
    @property
    def max_delay(self) -> float: ...
    @property
    def limit(self) -> int: ...


class Exit(Struct, frozen=True):
    """How a process ended: an exit code, or minus the number of the signal that killed it (as `subprocess` tells)."""

    status: int
    note: str = ""
    """What is known beyond it: why the kernel killed it."""

    @property
    def clean(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        if self.status >= 0:
            return f"exit {self.status}{note}"
        try:
            return f"signal {signal.Signals(-self.status).name.removeprefix('SIG')}{note}"
        except ValueError:
            return f"signal {-self.status}{note}"


class Life(Struct, frozen=True):
    """Where an instance stands. `next_try` is when a `backoff` ends; `exit` and `reason` tell the last end."""

    state: ProcessState = ProcessState.STOPPED
    started: float = 0.0
    well: bool = False
    deaths: int = 0
    """Ends in a row, each within 60 s of its start: what the next delay depends on."""
    failed_starts: int = 0
    """In a row."""
    restarts: int = 0
    failures: int = 0
    """Failed checks in a row, as far as they count."""
    next_try: float = 0.0
    exit: str = ""
    reason: str = ""


def wait(life: Life, reason: str) -> Life:
    """Something it depends on is not there yet."""
    return msgspec.structs.replace(life, state=ProcessState.PENDING, reason=reason)


def start(life: Life, now: float) -> Life:
    """Its process has been started."""
    return msgspec.structs.replace(
        life, state=ProcessState.STARTING, started=now, well=False, failures=0, next_try=0.0, reason=""
    )


def passed(life: Life) -> Life:
    """Its check passed, or it has no check and lived `WELL_AFTER_S`."""
    if life.state not in (ProcessState.STARTING, ProcessState.RUNNING):
        return life
    return msgspec.structs.replace(life, state=ProcessState.RUNNING, well=True, failed_starts=0, failures=0, reason="")


def failed_check(life: Life, now: float, start_period: float, restart_after: int, reason: str) -> tuple[Life, bool]:
    """A check failed. True: the instance is to be restarted. Failures before the first pass count after `start_period`."""
    if life.state not in (ProcessState.STARTING, ProcessState.RUNNING):
        return life, False
    counts = life.well or now - life.started >= start_period
    life = msgspec.structs.replace(life, failures=life.failures + counts, reason=reason)
    return life, 0 < restart_after <= life.failures


def died(life: Life, policy: Policy, end: Exit, now: float, jitter: float, reason: str = "") -> Life:
    """Its process ended without having been told to, or was ended by us for failing its check (`reason`)."""
    why = reason or str(end)
    if policy.policy == "never" or (policy.policy == "on-failure" and end.clean and not reason):
        return msgspec.structs.replace(life, state=ProcessState.EXITED, exit=str(end), reason=why, failures=0)
    if life.well and now - life.started >= QUICK_DEATH_S:
        life = msgspec.structs.replace(life, deaths=0)
    failed_starts = 0 if life.well else life.failed_starts + 1
    if not life.well and failed_starts >= policy.limit:
        return msgspec.structs.replace(
            life,
            state=ProcessState.FATAL,
            failed_starts=failed_starts,
            exit=str(end),
            reason=f"{why}: {failed_starts} failed starts in a row",
            failures=0,
        )
    # A failed start is never repeated at once: what just refused to start would do so again.
    step = life.deaths if life.well else max(life.deaths, 1)
    wait_s = backoff(policy, step, jitter)
    return msgspec.structs.replace(
        life,
        state=ProcessState.BACKOFF,
        deaths=step + 1,
        failed_starts=failed_starts,
        restarts=life.restarts + 1,
        next_try=now + wait_s,
        exit=str(end),
        reason=why if life.well else f"{why} before it was well ({failed_starts} of {policy.limit})",
        failures=0,
    )


def refused(life: Life, policy: Policy, reason: str, now: float, jitter: float) -> Life:
    """It could not be started for a reason of its own (its port is taken): a failed start without a process."""
    life = msgspec.structs.replace(life, well=False, started=now)
    life = died(life, policy, Exit(1), now, jitter, reason)
    state = ProcessState.FATAL if life.state is ProcessState.EXITED else life.state
    return msgspec.structs.replace(life, state=state, exit="", reason=reason)


def cannot_execute(life: Life, reason: str) -> Life:
    """Its command does not exist or may not be executed: trying again would change nothing."""
    return msgspec.structs.replace(
        life, state=ProcessState.FATAL, failed_starts=life.failed_starts + 1, exit="", reason=reason
    )


def starved(life: Life, policy: Policy, reason: str, now: float, jitter: float) -> Life:
    """The machine had no process, descriptor, memory or disk for it: later, and never given up."""
    step = max(life.deaths, 1)
    return msgspec.structs.replace(
        life,
        state=ProcessState.BACKOFF,
        deaths=step + 1,
        next_try=now + backoff(policy, step, jitter),
        reason=reason,
    )


def stopping(life: Life) -> Life:
    """It has been told to stop."""
    return msgspec.structs.replace(life, state=ProcessState.STOPPING, next_try=0.0, reason="")


def stopped(life: Life, end: Exit | None = None) -> Life:
    """Nothing of it is alive, as wanted. Its history of failures is forgiven."""
    return Life(restarts=life.restarts, exit=str(end) if end else life.exit)


def restarted(life: Life) -> Life:
    """Someone asked for a fresh start: counts as a restart, without history."""
    return Life(state=life.state, restarts=life.restarts + 1, exit=life.exit)


def backoff(policy: Policy, step: int, jitter: float) -> float:
    """Seconds before the try after `step` quick deaths in a row: 0, then `delay` doubling to `max_delay`, ±20 %."""
    if step <= 0:
        return 0.0
    # 2.0 ** 1023 is the largest power of two there is; nobody waits for the difference.
    return min(policy.delay * 2.0 ** min(step - 1, 60), policy.max_delay) * (1 + JITTER * jitter)
