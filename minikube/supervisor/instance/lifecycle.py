"""One instance's life (floor 3, pure): what happened and when, in; the next state and the next try, out.

    stopped ─► pending ─► starting ─► running ─► backoff ─► (pending …)      always, and on-failure after a failure
                             │           └─────► exited                      never, and on-failure after a success
                             └─► backoff, or fatal after `limit` failed starts in a row

An instance is *well* once it passed its check or, without one, lived a second. A well one that
dies is restarted at once the first time, then after `delay`, doubling to `max_delay`, for as long as each life ends within
`reset_after` of its start; it is given up only where `max_restarts` within `window` says so. One that dies before it was well
has failed to start: always a delay, and `fatal` after `limit` of those in a row. One that is ended for failing its check has
died. A shortage of the machine (no process, no descriptor, no memory) is nobody's failed start: it waits and tries again
for ever.

What is wanted of it (`wish`) decides whether there is another life, and what an end that we bring about counts for.

Times are monotonic seconds, jitter is a number from -1 to 1; both come in as arguments. It refuses to start or wait.
"""

import math
from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

from minikube.durations import format_duration
from minikube.model import ProcessState
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.runtime.exit_status import Exit

WELL_AFTER_S = 1.0
"""How long an instance without a check lives before it counts as well."""

JITTER = 0.2


class RestartPolicy(Protocol):
    """What of `manifest.RestartSpec` is needed here."""

    @property
    def policy(self) -> str: ...
    @property
    def delay(self) -> float: ...
    @property
    def max_delay(self) -> float: ...
    @property
    def limit(self) -> int: ...
    @property
    def reset_after(self) -> float: ...
    @property
    def max_restarts(self) -> int: ...
    @property
    def window(self) -> float: ...
    @property
    def success(self) -> tuple[int, ...]: ...


class InstanceState(Struct, frozen=True):
    """Where an instance stands. `next_try` is when a `backoff` ends; `exit` and `reason` tell the last end."""

    state: ProcessState = ProcessState.STOPPED
    started: float = 0.0
    well: bool = False
    deaths: int = 0
    """Ends in a row, each within `reset_after` of its start: what the next delay depends on."""
    failed_starts: int = 0
    """In a row."""
    restarts: int = 0
    recent: tuple[float, ...] = ()
    """When it was restarted by itself, as far as `max_restarts` asks."""
    completed: bool = False
    """It ended, with success, and is to stay so."""
    next_try: float = 0.0
    exit: Exit | None = None
    reason: str = ""


def wait(life: InstanceState, reason: str) -> InstanceState:
    """Something it depends on is not there yet."""
    return msgspec.structs.replace(life, state=ProcessState.PENDING, reason=reason)


def start(life: InstanceState, now: float) -> InstanceState:
    """Its process has been started."""
    return msgspec.structs.replace(
        life, state=ProcessState.STARTING, started=now, well=False, completed=False, next_try=0.0, reason=""
    )


def passed(life: InstanceState) -> InstanceState:
    """Its check passed, or it has no check and lived `WELL_AFTER_S`."""
    if not life.state.is_active:
        return life
    return msgspec.structs.replace(life, state=ProcessState.RUNNING, well=True, failed_starts=0, reason="")


def died(
    life: InstanceState, policy: RestartPolicy, end: Exit, now: float, jitter: float, reason: str = ""
) -> InstanceState:
    """Its process ended without having been told to, or was ended by us for failing its check (`reason`)."""
    why = reason or str(end)
    good = end.code in policy.success and not reason
    if policy.policy == "never" or (policy.policy == "on-failure" and good):
        return msgspec.structs.replace(
            life, state=ProcessState.EXITED, exit=end, reason="" if good else why, completed=good
        )
    if life.well and now - life.started >= policy.reset_after:
        life = msgspec.structs.replace(life, deaths=0)
    life = msgspec.structs.replace(life, exit=end, failed_starts=0 if life.well else life.failed_starts + 1)
    if not life.well and life.failed_starts >= policy.limit:
        return _fatal(life, f"{why}: {life.failed_starts} failed starts in a row")
    recent = tuple(when for when in life.recent if now - when < policy.window)
    if 0 < policy.max_restarts <= len(recent):
        return _fatal(life, f"{why}: restarted {len(recent)} times within {format_duration(policy.window)}")
    # A failed start is never repeated at once: what just refused to start would do so again.
    step = life.deaths if life.well else max(life.deaths, 1)
    return msgspec.structs.replace(
        life,
        state=ProcessState.BACKOFF,
        deaths=step + 1,
        restarts=life.restarts + 1,
        recent=(*recent, now) if policy.max_restarts else (),
        next_try=now + backoff(policy, step, jitter),
        reason=why if life.well else f"{why} before it was well ({life.failed_starts} of {policy.limit})",
    )


def _fatal(life: InstanceState, reason: str) -> InstanceState:
    return msgspec.structs.replace(life, state=ProcessState.FATAL, reason=reason)


def refused(life: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float) -> InstanceState:
    """It could not be started for a reason of its own (its port is taken): a failed start without a process."""
    life = msgspec.structs.replace(life, well=False, started=now)
    life = died(life, policy, Exit(1), now, jitter, reason)
    state = ProcessState.FATAL if life.state is ProcessState.EXITED else life.state
    return msgspec.structs.replace(life, state=state, exit=None, reason=reason)


def cannot_execute(life: InstanceState, reason: str) -> InstanceState:
    """Its command does not exist or may not be executed: trying again would change nothing."""
    return msgspec.structs.replace(
        life, state=ProcessState.FATAL, failed_starts=life.failed_starts + 1, exit=None, reason=reason
    )


def starved(life: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float) -> InstanceState:
    """The machine had no process, descriptor, memory or disk for it: later, and never given up."""
    step = max(life.deaths, 1)
    return msgspec.structs.replace(
        life,
        state=ProcessState.BACKOFF,
        deaths=step + 1,
        next_try=now + backoff(policy, step, jitter),
        reason=reason,
    )


def stopping(life: InstanceState, reason: str = "") -> InstanceState:
    """It is being stopped; `reason` says how far that is."""
    return msgspec.structs.replace(life, state=ProcessState.STOPPING, next_try=0.0, reason=reason)


def stopped(life: InstanceState, end: Exit | None = None) -> InstanceState:
    """Nothing of it is alive, as wanted. Its history of failures is forgiven."""
    return InstanceState(restarts=life.restarts, exit=end or life.exit)


def forgiven(life: InstanceState, wish: DesiredState) -> InstanceState:
    """Someone asked for it to run: what had ended by itself begins again, without history."""
    if wish.removed or not life.state.has_ended:
        return life
    return msgspec.structs.replace(stopped(life), state=ProcessState.PENDING)


def between(life: InstanceState, wish: DesiredState) -> InstanceState:
    """No process is there: where it stands, as far as what is wanted has changed that."""
    if wish.again:
        life = restarted(life)
    return life if wish.runs else stopped(life)


def due(life: InstanceState, wish: DesiredState) -> float:
    """When its next life is to begin; infinity: not before something else is wanted."""
    if not wish.runs or life.state.is_final:
        return math.inf
    return life.next_try if life.state is ProcessState.BACKOFF else 0.0


def comes(life: InstanceState, wish: DesiredState, scheduled: bool) -> bool:
    """Whether it will be there by itself: nobody has stopped it, and it has not ended for good."""
    over = life.state.is_final and not wish.again
    return not over if wish.runs else scheduled and not wish.rests


def ended(
    life: InstanceState, wish: DesiredState, policy: RestartPolicy, end: Exit, now: float, jitter: float
) -> InstanceState:
    """Its process was ended by us, as `wish` has it."""
    if wish.is_failure:
        return died(life, policy, end, now, jitter, wish.unwell)
    return life if wish.again else stopped(life, end)


def worst_end(lives: Iterable[InstanceState]) -> tuple[str, int]:
    """How the worst of some instances has ended: in words and as an exit code, 1 for what could not even be started."""
    ends = [(one.exit.code, str(one.exit)) if one.exit else (1, one.reason) for one in lives]
    code, how = max(ends, key=lambda end: end[0])
    return how, code


def restarted(life: InstanceState) -> InstanceState:
    """Someone asked for a fresh start: counts as a restart, without history. What had ended for good begins again."""
    state = ProcessState.STOPPING if life.state is ProcessState.STOPPING else ProcessState.PENDING
    return InstanceState(state=state, restarts=life.restarts + 1, exit=life.exit)


def backoff(policy: RestartPolicy, step: int, jitter: float) -> float:
    """Seconds before the try after `step` quick deaths in a row: 0, then `delay` doubling to `max_delay`, ±20 %."""
    if step <= 0:
        return 0.0
    # 2.0 ** 1023 is the largest power of two there is; nobody waits for the difference.
    return min(policy.delay * 2.0 ** min(step - 1, 60), policy.max_delay) * (1 + JITTER * jitter)
