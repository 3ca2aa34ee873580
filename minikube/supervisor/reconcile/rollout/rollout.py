"""Rolling restarts: the replicas of a service one after another, each ready before the next, so that lookups find the others.

A service has one roll-out at most. A request during a roll-out extends it until every requested replica was started after
that request; all callers get its result. Replicas that are added, removed or stopped meanwhile are not restarted.
`plan` decides the next step; this module has the deadlines.
"""

from collections.abc import Sequence

import trio

from minikube.control.state_store import StateStore
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.termination import stop_timeout
from minikube.supervisor.reconcile.errors import RolloutFailed, Superseded
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout.plan import Replica, next_step

READY_TIMEOUT_S = 30.0
"""How long a replica may take from its start until it is ready, on top of its check's `start_period`."""


class Rollout:
    """The state of one roll-out under way. `Rollouts` changes it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: Exception | None = None
        self.requested = CancelEvent()
        """Set, and replaced, when another request comes."""
        self.awaited: dict[InstanceController, float] = {}
        """Replicas that were restarted and are not ready yet, with the time when they must be."""
        self.failed: dict[InstanceController, str] = {}
        """Replicas that did not come back, and why."""
        self.skipped: list[str] = []
        """Names of replicas that were not restarted after a failure."""


class Rollouts:
    """Restarts the replicas of services one after another, with one roll-out per service.

    The roll-outs run in `nursery` and go on when their callers are cancelled. `service in rollouts` tells whether one
    is under way.
    """

    def __init__(
        self, store: StateStore, replicas: ReplicaSet, stop_requested: CancelEvent, nursery: trio.Nursery
    ) -> None:
        self._store = store
        self._replicas = replicas
        self._stop_requested = stop_requested
        self._nursery = nursery
        self._under_way: dict[str, Rollout] = {}

    def __contains__(self, service: str) -> bool:
        return service in self._under_way

    async def restart(self, controllers: Sequence[InstanceController]) -> None:
        """Restart replicas of one service one after another; return when the roll-out of the service has ended.

        A roll-out that is under way takes the replicas on. Raises `RolloutFailed` when a replica does not become ready,
        and `Superseded` when the service or the project is stopped meanwhile.
        """
        service = controllers[0].spec.name
        # Queued first: a roll-out that is under way takes these on.
        for controller in controllers:
            controller.queue_restart()
        rollout = self._under_way.get(service)
        if rollout is None:
            rollout = self._under_way[service] = Rollout()
            self._nursery.start_soon(self._run, service, rollout)
        # A new request gives a replica that failed another chance: the manifest may have been corrected.
        rollout.failed.clear()
        rollout.skipped.clear()
        rollout.requested.set()
        await rollout.done.wait()
        if rollout.error is not None:
            raise rollout.error

    async def _run(self, service: str, rollout: Rollout) -> None:
        """Run the roll-out of a service to its end, and store its result for the callers of `restart`."""
        try:
            await self._restart_all(service, rollout)
            rollout.error = self._result(service, rollout)
        except Exception as error:  # a defect is passed to the callers, and ends nothing that runs
            rollout.error = error
        finally:
            del self._under_way[service]
            rollout.done.set()
        if rollout.error is not None and not isinstance(rollout.error, Superseded):
            self._store.event("rollout.failed", f"{service}: {rollout.error}", "error", service=service)

    async def _restart_all(self, service: str, rollout: Rollout) -> None:
        """Restart queued replicas step by step, until none is queued and none is awaited, or the project is stopping."""
        while not self._stop_requested.is_set():
            # Before the states of the replicas are read: a change or a request from here on ends the wait below.
            rollout.requested, revision = CancelEvent(), self._store.revision
            controllers = {
                controller.name: controller for controller in self._replicas.of(service) if controller.desired.running
            }
            self._update_awaited(controllers, rollout)
            replicas = [
                Replica(name, controller.desired.restart_queued, controller.is_ready, controller in rollout.awaited)
                for name, controller in controllers.items()
            ]
            limits = (controller.spec.restart.max_unavailable for controller in controllers.values())
            step = next_step(replicas, max(limits, default=1), failed=bool(rollout.failed))
            for name in step.skip:
                controllers[name].unqueue_restart()
                rollout.skipped.append(name)
            for name in step.restart:
                controllers[name].restart()
                rollout.awaited[controllers[name]] = trio.current_time() + restart_timeout(controllers[name])
            if step.done:
                return
            with trio.move_on_at(min(rollout.awaited.values(), default=float("inf"))), rollout.requested.cancels():
                await self._store.wait_past(revision)

    def _update_awaited(self, controllers: dict[str, InstanceController], rollout: Rollout) -> None:
        """Remove the replicas from `rollout.awaited` that are ready, stopped, queued again or failed.

        `controllers` are the replicas that are to run, by name.
        """
        now = trio.current_time()
        for controller, deadline in list(rollout.awaited.items()):
            stopped = controllers.get(controller.name) is not controller
            if stopped or controller.desired.restart_queued or _is_back(controller):
                del rollout.awaited[controller]
            elif reason := _failure(controller, now >= deadline):
                del rollout.awaited[controller]
                rollout.failed[controller] = reason

    def _result(self, service: str, rollout: Rollout) -> RolloutFailed | None:
        """Return the error of an ended roll-out, which its callers raise; None for a success."""
        if self._stop_requested.is_set():
            return Superseded(f"{service}: the project is stopping")
        if rollout.failed:
            failed = "; ".join(
                f"{controller.name} did not come back: {reason}" for controller, reason in rollout.failed.items()
            )
            skipped = f"; {', '.join(rollout.skipped)} not restarted" if rollout.skipped else ""
            return RolloutFailed(f"{failed}{skipped} — see `minikube logs {service}`")
        if not any(controller.desired.running for controller in self._replicas.of(service)):
            return Superseded(f"{service}: was stopped meanwhile")
        return None


def restart_timeout(controller: InstanceController) -> float:
    """Return the seconds that an instance has from the request to restart it until it is ready."""
    health = controller.spec.health
    return stop_timeout(controller.spec.stop) + READY_TIMEOUT_S + (health.start_period if health else 0.0)


def _is_back(controller: InstanceController) -> bool:
    """Return whether the new process of a replica is ready or has completed."""
    if controller.desired.ends_process:
        return False
    return controller.is_ready or controller.state.completed


def _failure(controller: InstanceController, late: bool) -> str:
    """Return a text that says why a restarted replica has failed; empty while it may still become ready.

    `late`: its deadline has passed.
    """
    if controller.desired.restart and not late:
        return ""  # the old process is still being stopped
    reason = controller.dependency_status.reason
    if controller.state.process_state.has_ended:
        return reason or f"it is {controller.state.process_state}"
    if late:
        return f"not ready in time ({reason})" if reason else "not ready in time"
    return ""
