"""What users ask for by name: start, stop, restart, kill, scale, maintenance.

A name is a service's, an instance's name (`product-2`) or an instance's id. Unknown names raise `NotFound`, requests that make no
sense raise `UsageError`; nothing was changed then. How an instance is started or stopped is `instance`'s.
"""

from collections.abc import Sequence

import trio

from minikube.errors import NotFound, UsageError
from minikube.linux.processes import signal_number
from minikube.manifest.validate import check_replicas
from minikube.model import ProcessState
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.reconcile.errors import RolloutFailed
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.rollout.rollout import Rollouts
from minikube.supervisor.reconcile.rollout.single import restart_instance, wait_running, wait_started

START_TIMEOUT_S = 30.0
"""How long a start waits until the instances have left the state `stopped`."""


class ServiceActions:
    """Acts on services and instances by name. Belongs to the trio thread."""

    def __init__(self, reconciler: Reconciler, rollouts: Rollouts) -> None:
        self._reconciler = reconciler
        self._replicas = reconciler.replicas
        self._store = reconciler.store
        self._rollouts = rollouts

    def find(self, name: str) -> list[InstanceController]:
        """Return the instances with that name. Raise `NotFound` or, for externally registered services, `UsageError`."""
        if (found := self._replicas.find(name)) or name in self._replicas:
            return found
        if self._store.service(name) is not None:
            raise UsageError(f"{name}: was registered by another program, which the supervisor does not control")
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")

    async def start(self, name: str) -> None:
        """Start instances and what they depend on; return when they are being started or wait for something."""
        self._check_running()
        controllers = self.find(name)
        for controller in (*self._reconciler.unselected_dependencies(controllers), *controllers):
            controller.start()
        with trio.move_on_after(START_TIMEOUT_S):
            await self._store.wait_for(lambda _: all(map(_has_left_stopped, controllers)))
        await wait_started(controllers, self._store, "cannot be started")

    async def stop(self, name: str) -> None:
        """Stop instances; return when no process of them is alive. Raise `StopTimeout` when one outlives its time."""
        # `find` raises for an unknown name.
        await self._reconciler.stop_instances(self._replicas.find_with_removed(name) or self.find(name))

    async def restart(self, name: str) -> None:
        """Restart instances, those of one service one after another. Raise `RolloutFailed` when one does not come back."""
        self._check_running()
        controllers = self.find(name)
        for controller in self._reconciler.unselected_dependencies(controllers):
            controller.start()
        # A stopped replica takes nothing away by coming back: it need not wait for its turn.
        if len(controllers) > 1 and not self._replicas.blocked_dependency(controllers[0].spec):
            for controller in controllers:
                if not controller.desired.running:
                    controller.start()
        await self.replace(controllers)
        if len(controllers) == 1:
            await wait_running(controllers[0], self._store)

    async def replace(self, controllers: Sequence[InstanceController]) -> None:
        """Give these instances of one service new processes. Raise `RolloutFailed` when one does not come back.

        Nothing is stopped where a dependency would keep it from starting again.
        """
        if not controllers:
            return
        # Asked before anything is stopped: an old process that runs is better than none.
        if blocked := self._replicas.blocked_dependency(controllers[0].spec):
            name = controllers[0].name if len(controllers) == 1 else controllers[0].spec.name
            raise RolloutFailed(f"{name}: was not restarted, it could not start again: {blocked}")
        if len(controllers) == 1:
            await restart_instance(controllers[0], self._store)
        else:
            await self._rollouts.restart(controllers)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal, by its name without SIG, to the instances' processes. What follows is the restart policy's."""
        try:
            number = signal_number(signal)
        except ValueError as error:
            raise UsageError(str(error)) from None
        controllers = self._replicas.find_with_removed(name) or self.find(name)
        processes = [controller.process for controller in controllers if controller.process is not None]
        if not processes:
            raise UsageError(f"{name}: no process is running — start it with `minikube start {name}`")
        for process in processes:
            await process.send_signal(number)

    async def scale(self, name: str, replicas: int) -> None:
        """Set the number of replicas of a service; return when removed instances are gone and new ones being started."""
        self._check_running()
        reconciler = self._reconciler
        if name not in reconciler.specs or name not in self._replicas:
            raise NotFound(f"{name}: no such service")
        check_replicas(reconciler.specs[name], replicas, reconciler.specs)
        await reconciler.wait_removed(reconciler.resize(name, replicas))
        with trio.move_on_after(START_TIMEOUT_S):
            await self._store.wait_for(
                lambda _: all(
                    _has_left_stopped(controller) or not controller.desired.running
                    for controller in self._replicas.of(name)
                )
            )

    async def set_maintenance(self, name: str, on: bool, reason: str = "") -> None:
        """Take instances out of discovery, or back in, without touching their processes."""
        registry_sync = self._reconciler.registry_sync
        registered = [controller for controller in self.find(name) if registry_sync.entry(controller.id)]
        if not registered:
            raise UsageError(
                f"{name}: is not registered at the moment, so no lookup finds it anyway — see `minikube ps`"
            )
        for controller in registered:
            await registry_sync.set_maintenance(controller.id, on, reason)

    def _check_running(self) -> None:
        """Raise `UsageError` while the project stops."""
        if self._reconciler.stop_requested.is_set():
            raise UsageError("the project is stopping; nothing was started")


def _has_left_stopped(controller: InstanceController) -> bool:
    return controller.state.process_state is not ProcessState.STOPPED
