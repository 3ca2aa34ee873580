"""Restart one instance, and watch the first seconds of a start, so that an early failure is reported to the user."""

from collections.abc import Sequence

import trio

from minikube.control.state_store import StateStore
from minikube.model import ProcessState
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.termination import stop_timeout
from minikube.supervisor.reconcile.errors import RolloutFailed, StopTimeout, Superseded

WATCH_S = 2.0
"""How long a process that was started is watched: one that fails at once ends within this time."""

START_TIMEOUT_S = 60.0
"""How long a start may take until there is a process: on a busy machine it takes seconds."""


async def restart_instance(controller: InstanceController, store: StateStore) -> None:
    """Restart an instance; return when its new process is starting, or waits for a dependency or an image.

    Raises `StopTimeout` when the old process does not end, `Superseded` when the instance is stopped meanwhile, and
    `RolloutFailed` when the instance becomes `fatal` immediately.
    """
    controller.restart()

    def has_ended() -> bool:
        stopping = controller.state.process_state is ProcessState.STOPPING
        return not controller.desired.running or not (controller.desired.restart or stopping)

    with trio.move_on_after(stop_timeout(controller.spec.stop)) as deadline:
        await store.wait_until(has_ended)
    if deadline.cancelled_caught:
        raise StopTimeout(not_down(controller))
    if not controller.desired.running:
        raise Superseded(f"{controller.name}: was stopped meanwhile")
    await wait_started([controller], store, "did not come back")


async def wait_started(controllers: Sequence[InstanceController], store: StateStore, failure: str) -> None:
    """Wait until each instance is started, was stopped again, or waits for a dependency or an image.

    Raises `RolloutFailed` when an instance is `fatal`, or is not started within `START_TIMEOUT_S` and the time for its stop:
    an old process may still be ending. `failure` is a part of the message, such as "cannot be started".
    """
    stops = (stop_timeout(controller.spec.stop) for controller in controllers)
    seconds = START_TIMEOUT_S + max(stops, default=0.0)
    with trio.move_on_after(seconds) as deadline:
        await store.wait_until(lambda: all(map(_is_under_way, controllers)))
    for controller in controllers:
        # Without a time-out it was under way: another request may have begun to restart it since.
        if deadline.cancelled_caught and not _is_under_way(controller):
            late = f"its process was not started within {seconds:g} s, and the start goes on"
            raise RolloutFailed(f"{controller.name} {failure}: {late} — see `minikube ps`")
        if controller.state.process_state is ProcessState.FATAL:
            reason = controller.dependency_status.reason or "it is fatal"
            raise RolloutFailed(f"{controller.name} {failure}: {reason} — see `minikube logs {controller.name}`")


def _is_under_way(controller: InstanceController) -> bool:
    """Return whether an instance need not be waited for: started, ended, not wanted any more, or waiting for something named."""
    state = controller.state
    if state.process_state is ProcessState.PENDING:
        return bool(state.reason) or not controller.desired.running
    return not (controller.desired.running and state.process_state in (ProcessState.STOPPED, ProcessState.STOPPING))


async def wait_running(controller: InstanceController, store: StateStore) -> None:
    """Wait until an instance has left the state `starting`, for `WATCH_S` at most.

    Raises `RolloutFailed` when it has ended without success.
    """
    with trio.move_on_after(WATCH_S):
        await store.wait_until(lambda: controller.state.process_state is not ProcessState.STARTING)
    state = controller.state
    if state.process_state.has_ended and controller.desired.running and not state.completed:
        reason = controller.dependency_status.reason
        raise RolloutFailed(f"{controller.name} did not come back: {reason} — see `minikube logs {controller.name}`")


def not_down(controller: InstanceController) -> str:
    """Return the message for an instance that is not down in time."""
    return f"{controller.name}: is not down yet: {controller.dependency_status.reason or 'it is being stopped'}"
