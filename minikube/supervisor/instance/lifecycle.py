"""The lifecycle of an instance's process. Pure: each function takes a state and an event, and returns the next state.

    stopped ─► pending ─► starting ─► running ─► backoff ─► (pending …)      always, and on-failure after a failure
                             │           └─────► exited                      never, and on-failure after a success
                             └─► backoff, or fatal after `limit` failed starts in a row

- An instance is *healthy* once it has passed its check or, without one, has lived a second.
- A healthy instance that exits is restarted immediately the first time, then after `delay`, doubling to `max_delay`, for as long
  as each process ends within `reset_after` of its start. It becomes fatal only after `max_restarts` within `window`.
- An instance that exits before it was healthy has failed to start: always a delay, and fatal after `limit` of those in a row.
- An instance that was ended for failing its check counts as one that exited.
- A shortage of the machine (no process, no descriptor, no memory) is not a failed start: it is retried without limit.

`desired_state` decides whether another process follows, and what an end by the supervisor counts for. Times are monotonic
seconds, jitter is a number from -1 to 1. Nothing is started or waited for here.
"""

import math
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from minikube.durations import format_duration
from minikube.model import ProcessState
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.runtime.exit_status import Exit

JITTER = 0.2


class RestartPolicy(Protocol):
    """The restart policy of a service, as far as it is used here: fields of `manifest.RestartSpec`."""

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
    """Times of restarts by the restart policy within its `window`; empty without `max_restarts`."""
    completed: bool = False
    """It has ended with success, for good."""
    has_ended: bool = False
    """A process has ended by itself, for good, at some time: where a schedule starts it again, it has run once."""
    has_completed: bool = False
    """The same, with success."""
    next_start: float = 0.0
    """When a `backoff` ends."""
    exit: Exit | None = None
    """How the last process ended."""
    reason: str = ""
    """Why it is in this state, in one line."""


def on_waiting(state: InstanceState, reason: str) -> InstanceState:
    """Return the state while a start waits for `reason` (a dependency, an image); empty: nothing is missing."""
    return replace(state, process_state=ProcessState.PENDING, reason=reason)


def on_started(state: InstanceState, now: float) -> InstanceState:
    """Return the state after a process was started at the time `now`."""
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
    """Return the state after the check passed, or after an instance without a check has run for long enough."""
    if not state.process_state.is_active:
        return state
    return replace(state, process_state=ProcessState.RUNNING, healthy=True, failed_starts=0, reason="")


def on_exit(
    state: InstanceState, policy: RestartPolicy, exit: Exit, now: float, jitter: float, reason: str = ""
) -> InstanceState:
    """Return the state after the process has exited: `exited`, `backoff` before a restart, or `fatal`.

    `reason` is set where the supervisor ended the process because its check failed.
    """
    cause = reason or str(exit)
    success = exit.code in policy.success and not reason
    if policy.policy == "never" or (policy.policy == "on-failure" and success):
        return replace(
            state,
            process_state=ProcessState.EXITED,
            exit=exit,
            reason="" if success else cause,
            completed=success,
            has_ended=True,
            has_completed=success or state.has_completed,
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
    # A failed start is never repeated without delay: it would very likely fail again.
    step = state.quick_exits if state.healthy else max(state.quick_exits, 1)
    return replace(
        state,
        process_state=ProcessState.BACKOFF,
        quick_exits=step + 1,
        restarts=state.restarts + 1,
        recent_restarts=(*recent, now) if policy.max_restarts else (),
        next_start=now + backoff_delay(policy, step, jitter),
        reason=cause if state.healthy else f"{cause} (failed start {state.failed_starts} of {policy.limit})",
    )


def _fatal(state: InstanceState, reason: str) -> InstanceState:
    return replace(state, process_state=ProcessState.FATAL, reason=reason)


def on_start_failed(
    state: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float
) -> InstanceState:
    """Return the state after a start that made no process, for example because the port is taken: a failed start."""
    state = replace(state, healthy=False, started=now)
    state = on_exit(state, policy, Exit(1), now, jitter, reason)
    # With `restart = "never"` the policy gives `exited`; without a process that would look like a run.
    process_state = ProcessState.FATAL if state.process_state is ProcessState.EXITED else state.process_state
    return replace(state, process_state=process_state, exit=None, reason=reason)


def on_not_executable(state: InstanceState, reason: str) -> InstanceState:
    """Return the state after a start that can never succeed, such as one of a missing command: `fatal`."""
    return replace(
        state, process_state=ProcessState.FATAL, failed_starts=state.failed_starts + 1, exit=None, reason=reason
    )


def on_resource_exhausted(
    state: InstanceState, policy: RestartPolicy, reason: str, now: float, jitter: float
) -> InstanceState:
    """Return the state after a start for which the machine lacked a process, descriptor, memory or disk: `backoff`.

    Such starts are retried without a limit, and never make the instance `fatal`.
    """
    # Never without delay: all instances that wait for the same memory would try in a busy loop.
    step = max(state.quick_exits, 1)
    return replace(
        state,
        process_state=ProcessState.BACKOFF,
        quick_exits=step + 1,
        next_start=now + backoff_delay(policy, step, jitter),
        reason=reason,
    )


def on_stopping(state: InstanceState, progress: str = "") -> InstanceState:
    """Return the state while the process is being stopped; `progress` is a text that says what the stop waits for."""
    return replace(state, process_state=ProcessState.STOPPING, next_start=0.0, reason=progress)


def on_stopped(state: InstanceState, exit: Exit | None = None) -> InstanceState:
    """Return the state after a requested stop: the history of failures is cleared."""
    return _forget_failures(replace(state, process_state=ProcessState.STOPPED, exit=exit or state.exit))


def on_restart_requested(state: InstanceState) -> InstanceState:
    """Return the state after a requested restart: one more restart, and the history of failures is cleared."""
    process_state = ProcessState.STOPPING if state.process_state is ProcessState.STOPPING else ProcessState.PENDING
    return _forget_failures(replace(state, process_state=process_state, restarts=state.restarts + 1))


def _forget_failures(state: InstanceState) -> InstanceState:
    """Return a new state with the process state of `state`, and what is counted over all its processes."""
    return InstanceState(
        process_state=state.process_state,
        restarts=state.restarts,
        exit=state.exit,
        has_ended=state.has_ended,
        has_completed=state.has_completed,
    )


def on_terminated(
    state: InstanceState, desired: DesiredState, policy: RestartPolicy, exit: Exit, now: float, jitter: float
) -> InstanceState:
    """Return the state after the supervisor has ended the process to reach the state `desired`."""
    if desired.ends_as_failure:
        return on_exit(state, policy, exit, now, jitter, desired.unhealthy)
    return state if desired.restart else on_stopped(state, exit)


def reset_failures(state: InstanceState, desired: DesiredState) -> InstanceState:
    """Return the state after a user's request to start.

    Where the instance was `backoff`, `exited` or `fatal`, it becomes `pending` and the history of failures is cleared.
    """
    if desired.removed or not state.process_state.has_ended:
        return state
    return replace(on_stopped(state), process_state=ProcessState.PENDING)


def follow_desired(state: InstanceState, desired: DesiredState) -> InstanceState:
    """Return the state of an instance without a process, changed as `desired` requires: restarted or stopped."""
    if desired.restart:
        state = on_restart_requested(state)
    return state if desired.running else on_stopped(state)


def next_start(state: InstanceState, desired: DesiredState) -> float:
    """Return when the next process is to be started (monotonic seconds): 0 for now, infinity for never."""
    if not desired.running or state.process_state.is_final:
        return math.inf
    return state.next_start if state.process_state is ProcessState.BACKOFF else 0.0


def will_start(state: InstanceState, desired: DesiredState, has_schedule: bool) -> bool:
    """Return whether the instance runs, or will run without a user's request: it is not stopped, `exited` or `fatal`."""
    final = state.process_state.is_final and not desired.restart
    return not final if desired.running else has_schedule and not desired.suspended


def backoff_delay(policy: RestartPolicy, step: int, jitter: float) -> float:
    """Return the seconds of backoff after `step` quick exits: 0, then `delay` doubling to `max_delay`, ±20 %.

    `jitter` from -1 to 1 selects the value within ±20 %.
    """
    if step <= 0:
        return 0.0
    # Bounded: 2.0 ** 1024 raises OverflowError, and 2 ** 60 is beyond every `max_delay`.
    return min(policy.delay * 2.0 ** min(step - 1, 60), policy.max_delay) * (1 + JITTER * jitter)
