"""Users' requests for a service or an instance by name: start, stop, restart, kill, scale, maintenance.

A name is that of a service, that of an instance (`product-2`), or the id of an instance. Unknown names raise `NotFound`,
impossible requests raise `UsageError`; nothing was changed then. `instance` starts and stops each instance.
"""

import os
from collections.abc import Sequence

import trio

from minikube.errors import NotFound, UsageError
from minikube.linux.processes import signal_number
from minikube.manifest import ServiceSpec
from minikube.manifest.validate import check_replicas
from minikube.model import ProcessState
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.reconcile.errors import RolloutFailed, Superseded
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.rollout.rollout import Rollouts
from minikube.supervisor.reconcile.rollout.single import restart_instance, wait_running, wait_started

DEPENDENCY_TIMEOUT_S = 5.0
"""How long instances may wait for dependencies that the same request has started."""

DIRECTORY_TIMEOUT_S = 1.0
"""For a look at a working directory, whose file system may hang."""


class ServiceActions:
    """Starts, stops, restarts, signals and scales services and instances by name, as users request. Belongs to the trio thread."""

    def __init__(self, reconciler: Reconciler, rollouts: Rollouts) -> None:
        self._reconciler = reconciler
        self._replicas = reconciler.replicas
        self._store = reconciler.store
        self._rollouts = rollouts

    def find(self, name: str) -> list[InstanceController]:
        """Return the instances of the service `name`, or the one instance with that name or id.

        Raises `NotFound` for an unknown name, `UsageError` for an instance that another program registered.
        """
        if (found := self._replicas.find(name)) or name in self._replicas:
            return found
        if self._store.service(name) is not None:
            raise UsageError(f"{name}: was registered by another program, which the supervisor does not control")
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")

    async def start(self, name: str) -> None:
        """Start instances and their dependencies; return when each is starting or waits for a dependency or an image.

        Instances that wait for dependencies which this call starts are given `DEPENDENCY_TIMEOUT_S` to start as well.

        Raises `RolloutFailed` when an instance becomes `fatal` immediately, and `UsageError` for a service without replicas.
        """
        self._check_running()
        controllers = self._find_instances(name)
        dependencies = self._reconciler.unselected_dependencies(controllers)
        for controller in (*dependencies, *controllers):
            controller.start()
        if dependencies:
            with trio.move_on_after(DEPENDENCY_TIMEOUT_S):
                await self._store.wait_until(lambda: not any(map(_is_to_start, controllers)))
        await wait_started(controllers, self._store, "cannot be started")

    async def stop(self, name: str) -> None:
        """Stop instances; return when all their processes are dead. Raises `StopTimeout` when a process does not end in time."""
        # `find` raises for an unknown name.
        await self._reconciler.stop_instances(self._replicas.find_with_removed(name) or self.find(name))

    async def restart(self, name: str) -> None:
        """Restart instances; replicas of a service one after another, each ready before the next.

        Raises `RolloutFailed` when an instance does not become ready again, and `StopTimeout` when an old process does
        not end, and `UsageError` for a service without replicas.
        """
        self._check_running()
        controllers = self._find_instances(name)
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
        """Replace the processes of `controllers`, which are all of one service, as a roll-out.

        Raises `RolloutFailed` when an instance does not become ready again; before anything is stopped where a
        dependency of the service is not met and will not be, or its working directory is gone. Raises `Superseded` when
        the service is stopped meanwhile.
        """
        if not controllers:
            return
        # Checked before the first stop: an old process that runs is better than none.
        spec = controllers[0].spec
        name = controllers[0].name if len(controllers) == 1 else spec.name
        was_running = any(controller.desired.running for controller in controllers)
        if blocked := self._replicas.blocked_dependency(spec) or await self._missing_directory(spec):
            raise RolloutFailed(f"{name}: not restarted, because it could not start again: {blocked}")
        # A stop that came during the look at the directory is the later request.
        if was_running and not any(controller.desired.running for controller in controllers):
            raise Superseded(f"{name}: was stopped meanwhile")
        if len(controllers) == 1:
            await restart_instance(controllers[0], self._store)
        else:
            await self._rollouts.restart(controllers)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal (a name such as `HUP`) to the processes of instances. Raises `UsageError` where no process is running."""
        try:
            number = signal_number(signal)
        except ValueError as error:
            raise UsageError(str(error)) from None
        controllers = self._replicas.find_with_removed(name) or self._find_instances(name)
        processes = [controller.process for controller in controllers if controller.process is not None]
        if not processes:
            raise UsageError(f"{name}: no process is running — start it with `minikube start {name}`")
        for process in processes:
            await process.send_signal(number)

    async def scale(self, name: str, replicas: int) -> None:
        """Set the number of replicas of the service `name`.

        Return when the surplus instances have ended, and each new one is starting or waits for a dependency or an image.
        Raises `StopTimeout` when one does not end, and `RolloutFailed` when a new one is not started.
        """
        self._check_running()
        reconciler = self._reconciler
        if name not in reconciler.specs or name not in self._replicas:
            raise NotFound(f"{name}: no such service — `minikube ps` lists them")
        check_replicas(reconciler.specs[name], replicas, reconciler.specs)
        before = self._replicas.of(name)
        surplus = reconciler.resize(name, replicas)
        added = [controller for controller in self._replicas.of(name) if controller not in before]
        await reconciler.wait_removed(surplus)
        await wait_started(added, self._store, "cannot be started")

    async def set_maintenance(self, name: str, on: bool, reason: str = "") -> None:
        """Hide instances from lookups (`on`) or show them again; their processes go on. Raises `UsageError` if not registered."""
        registry_sync = self._reconciler.registry_sync
        registered = [controller for controller in self.find(name) if registry_sync.entry(controller.id)]
        if not registered:
            raise UsageError(f"{name}: is not registered now, so lookups do not find it — see `minikube ps`")
        for controller in registered:
            await registry_sync.set_maintenance(controller.id, on, reason)

    def _find_instances(self, name: str) -> list[InstanceController]:
        """Return the instances as `find`, at least one. Raises `UsageError` for a service without replicas."""
        if not (found := self.find(name)):
            raise UsageError(f"{name}: has no instance, as it has 0 replicas — `minikube scale {name}=1` starts one")
        return found

    async def _missing_directory(self, spec: ServiceSpec) -> str:
        """Return why no process can be started in the working directory of a service: it is gone; empty where it is there."""
        if spec.runtime != "process":
            return ""
        cwd = self._reconciler.context.process_table.current_path(spec.cwd)
        with trio.move_on_after(DIRECTORY_TIMEOUT_S):
            try:
                await trio.to_thread.run_sync(os.stat, cwd, abandon_on_cancel=True)
            except (FileNotFoundError, NotADirectoryError):
                return f"its working directory {cwd} was moved or removed — move it back, or make it again"
            except OSError:
                pass  # the service's user may be able to enter it
        return ""

    def _check_running(self) -> None:
        """Raise `UsageError` where a stop of the project was requested."""
        if self._reconciler.stop_requested.is_set():
            raise UsageError("the project is stopping; nothing was started")


def _is_to_start(controller: InstanceController) -> bool:
    waits = controller.state.process_state in (ProcessState.STOPPED, ProcessState.PENDING)
    return waits and controller.desired.running
