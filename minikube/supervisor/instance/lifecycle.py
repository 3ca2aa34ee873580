"""The lifecycle of an instance's process. Pure: what happened and when, in; the next state and the next start, out.

    stopped ─► pending ─► starting ─► running ─► backoff ─► (pending …)      always, and on-failure after a failure
                             │           └─────► exited                      never, and on-failure after a success
                             └─► backoff, or fatal after `limit` failed starts in a row

- An instance is *healthy* once it has passed its check or, without one, has lived a second.
- A healthy instance that exits is restarted at once the first time, then after `delay`, doubling to `max_delay`, for as long
  as each process ends within `reset_after` of its start. It becomes fatal only where `max_restarts` within `window` says so.
- An instance that exits before it was healthy has failed to start: always a delay, and fatal after `limit` of those in a row.
- An instance that was ended for failing its check counts as one that exited.
- A shortage of the machine (no process, no descriptor, no memory) is not a failed start: it is retried for ever.

`desired_state` decides whether another process follows, and what an end by the supervisor counts for. Times are monotonic
seconds, jitter is a number from -1 to 1. Nothing is started or waited for here.
"""

import math
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from minikube.durations import format_duration
from minikube.model import ProcessState
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.runtime.exit_status import Exit

JITTER = 0.2


class RestartPolicy(Protocol):
    """The fields of `manifest.RestartSpec` that are used here."""

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
    """The actual state of an instance, and the history that its restarts depend on."""

    process_state: ProcessState = ProcessState.STOPPED
    started: float = 0.0
    healthy: bool = False
    """The present or last process was healthy at some time."""
    quick_exits: int = 0
    """Exits in a row, each within `reset_after` of its start: the next delay depends on it."""
    failed_starts: int = 0
    """Failed starts in a row."""
    restarts: int = 0
    recent_restarts: tuple[float, ...] = ()
    """When it was restarted by the restart policy; kept only as far as `max_restarts` needs it."""
    completed: bool = False
    """It has ended with success, for good."""
    next_start: float = 0.0
    """When a `backoff` ends."""
    exit: Exit | None = None
    """How the last process ended."""
    reason: str = ""
    """Why it is in this state, in one line."""


def on_waiting(state: InstanceState, reason: str) -> InstanceState:
    """Return the state while something that the start needs is missing."""
    return replace(state, process_state=ProcessState.PENDING, reason=reason)


def on_started(state: InstanceState, now: float) -> InstanceState:
    """Return the state after its process was started."""
    return replace(
        state,
        process_state=ProcessState.STARTING,
        started=now,
        healthy=False,
        completed=False,
        next_start=0.0,
        reason="",
    )


def on_healthy(state: InstanceState) -> InstanceState:
    """Return the state after its check passed, or after an instance without a check has lived long enough."""
    if not state.process_state.is_active:
        return state
    return replace(state, process_state=ProcessState.RUNNING, healthy=True, failed_starts=0, reason="")


def on_exit(
    state: InstanceState, policy: RestartPolicy, exit: Exit, now: float, jitter: float, reason: str = ""
) -> InstanceState:
    """Return the state after its process exited by itself, or was ended for failing its check (`reason`)."""
    cause = reason or str(exit)
    success = exit.code in policy.success and not reason
    if policy.policy == "never" or (policy.policy == "on-failure" and success):
        return replace(
            state, process_state=ProcessState.EXITED, exit=exit, reason="" if success else cause, completed=success
        )
    # Counted from the start, not from when it became healthy: a slow start is part of a long run.
    if state.healthy and now - state.started >= policy.reset_after:
        state = replace(state, quick_exits=0)
    state = replace(state, exit=exit, failed_starts=0 if state.healthy else state.failed_starts + 1)
    if not state.healthy and state.failed_starts >= policy.limit:
        return _fatal(state, f"{cause}: {state.failed_starts} failed starts in a row")
    recent = tuple(when for when in state.recent_restarts if now - when < policy.window)
    if 0 < policy.max_restarts <= len(recent):
        return _fatal(state, f"{cause}: restarted {len(recent)} times within {format_duration(policy.window)}")
    # A failed start is never repeated at once: it would very likely fail again.
    step = state.quick_exits if state.healthy else max(state.quick_exits, 1)
    return replace(
        state,
        process_state=ProcessState.BACKOFF,
        quick_exits=step + 1,
        restarts=state.restarts + 1,
        recent_restarts=(*recent, now) if policy.max_restarts else (),
        next_start=now + backoff_delay(policy, step, jitter),
        reason=cause if state.healthy else f"{cause} before it was healthy ({state.failed_starts} of {policy.limit})",
    )


def _fatal(state: InstanceState, reason: str) -> InstanceState:
    return replace(state, process_state=ProcessState.FATAL, reason=reason)


def on_start_failed(
    state: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float
) -> InstanceState:
    """Return the state after a start that made no process (its port is taken): counts as a failed start."""
    state = replace(state, healthy=False, started=now)
    state = on_exit(state, policy, Exit(1), now, jitter, reason)
    # With `restart = "never"` the policy gives `exited`; without a process that would look like a run.
    process_state = ProcessState.FATAL if state.process_state is ProcessState.EXITED else state.process_state
    return replace(state, process_state=process_state, exit=None, reason=reason)


def on_not_executable(state: InstanceState, reason: str) -> InstanceState:
    """Return the state after a start that can never succeed: the command does not exist or may not be executed."""
    return replace(
        state, process_state=ProcessState.FATAL, failed_starts=state.failed_starts + 1, exit=None, reason=reason
    )


def on_resource_exhausted(
    state: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float
) -> InstanceState:
    """Return the state after the machine had no process, descriptor, memory or disk for it: retried, never fatal."""
    # Never at once: all instances that wait for the same memory would try in a busy loop.
    step = max(state.quick_exits, 1)
    return replace(
        state,
        process_state=ProcessState.BACKOFF,
        quick_exits=step + 1,
        next_start=now + backoff_delay(policy, step, jitter),
        reason=reason,
    )


def on_stopping(state: InstanceState, progress: str = "") -> InstanceState:
    """Return the state while its process is being stopped; `progress` says what the stop waits for."""
    return replace(state, process_state=ProcessState.STOPPING, next_start=0.0, reason=progress)


def on_stopped(state: InstanceState, exit: Exit | None = None) -> InstanceState:
    """Return the state after a wanted stop, without the history of failures."""
    return InstanceState(restarts=state.restarts, exit=exit or state.exit)


def on_restart_requested(state: InstanceState) -> InstanceState:
    """Return the state after a user's request to restart: counts as a restart, without the history of failures."""
    process_state = ProcessState.STOPPING if state.process_state is ProcessState.STOPPING else ProcessState.PENDING
    return InstanceState(process_state=process_state, restarts=state.restarts + 1, exit=state.exit)


def on_terminated(
    state: InstanceState, desired: DesiredState, policy: RestartPolicy, exit: Exit, now: float, jitter: float
) -> InstanceState:
    """Return the state after the supervisor has ended its process, for the reason that `desired` gives."""
    if desired.ends_as_failure:
        return on_exit(state, policy, exit, now, jitter, desired.unhealthy)
    return state if desired.restart else on_stopped(state, exit)


def reset_failures(state: InstanceState, desired: DesiredState) -> InstanceState:
    """Return the state after a user's request to start: an instance that had ended by itself begins without history."""
    if desired.removed or not state.process_state.has_ended:
        return state
    return replace(on_stopped(state), process_state=ProcessState.PENDING)


def follow_desired(state: InstanceState, desired: DesiredState) -> InstanceState:
    """Return the state of an instance without a process, as far as the desired state changes it."""
    if desired.restart:
        state = on_restart_requested(state)
    return state if desired.running else on_stopped(state)


def next_start(state: InstanceState, desired: DesiredState) -> float:
    """Return when its next process is to be started; infinity: not before the desired state changes."""
    if not desired.running or state.process_state.is_final:
        return math.inf
    return state.next_start if state.process_state is ProcessState.BACKOFF else 0.0


def will_start(state: InstanceState, desired: DesiredState, has_schedule: bool) -> bool:
    """Return whether a process of it runs, or will without a user's help: it is not stopped and has not ended for good."""
    final = state.process_state.is_final and not desired.restart
    return not final if desired.running else has_schedule and not desired.suspended


def worst_exit(states: Iterable[InstanceState]) -> tuple[str, int]:
    """Return how the worst of several instances has ended, in words and as an exit code: 1 for a failed start."""
    exits = [(state.exit.code, str(state.exit)) if state.exit else (1, state.reason) for state in states]
    code, words = max(exits, key=lambda exit: exit[0])
    return words, code


def backoff_delay(policy: RestartPolicy, step: int, jitter: float) -> float:
    """Return the seconds before the start after `step` quick exits: 0, then `delay` doubling to `max_delay`, ±20 %."""
    if step <= 0:
        return 0.0
    # Bounded: 2.0 ** 1024 raises OverflowError, and 2 ** 60 is beyond every `max_delay`.
    return min(policy.delay * 2.0 ** min(step - 1, 60), policy.max_delay) * (1 + JITTER * jitter)
