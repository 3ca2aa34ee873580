"""The services of the manifest, each with a controller for every replica.

    apply, actions, scheduler, watcher ──► Reconciler ──► InstanceController, InstanceController, …

Creates, adjusts, resizes, stops and removes instances; services stop before their dependencies. Requests come from `actions`,
`apply`, `schedule` and `watch`; `instance` starts and stops each instance.
"""

from collections.abc import Iterable, Sequence

import trio
from msgspec import structs

from minikube.health.prober import Prober
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec, shown_command
from minikube.model import ServiceView
from minikube.project import dependency_graph, orphans
from minikube.project.ids import instance_id
from minikube.project.selection.profiles import select_services
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.context import RunContext
from minikube.supervisor.instance import desired_state
from minikube.supervisor.instance.collaborators import Collaborators
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.termination import stop_timeout
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.reconcile.dependency_order import act_in_order
from minikube.supervisor.reconcile.errors import StopTimeout
from minikube.supervisor.reconcile.exit_watch import ExitWatch
from minikube.supervisor.reconcile.process_record import ProcessRecord
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout.single import not_down
from minikube.supervisor.reconcile.runtimes import Runtimes
from minikube.supervisor.runtime.process.process_table import KILL_TIMEOUT_S


class Reconciler:
    """Creates, adjusts, resizes, stops and removes the instances of a project's services. Belongs to the trio thread.

    The tasks of the instances run in `nursery`.
    """

    def __init__(
        self,
        context: RunContext,
        manifest: Manifest,
        replicas: ReplicaSet,
        registry_sync: RegistrySync,
        runtimes: Runtimes,
        nursery: trio.Nursery,
    ) -> None:
        self.context = context
        self.store = context.store
        self.stop_requested = context.stop_requested
        self.manifest = manifest
        self.specs: dict[str, ServiceSpec] = self._effective_specs(manifest)
        """The services as this `up` runs them, by name."""
        self.replicas = replicas
        self.registry_sync = registry_sync
        self.manifest_adopted = CancelEvent()
        """Set, and replaced, when another manifest is adopted."""
        self.exit_watch = ExitWatch(context, replicas)
        self.started = False
        """Whether the manifest's instances have been created."""
        self._runtimes = runtimes
        self._nursery = nursery
        self._selected = self._select(manifest)
        """Names of the services that `up` starts."""
        self._next_runs: dict[str, float] = {}
        process_table = context.process_table
        record = ProcessRecord(lambda: orphans.record_processes(context.directory, process_table.identities), nursery)
        self._collaborators = Collaborators(
            store=context.store,
            registry_sync=registry_sync,
            prober=Prober(),
            stop_requested=context.stop_requested,
            immediate_stop_requested=context.immediate_stop_requested,
            select_runtime=runtimes.select,
            taken_ports=replicas.ports_of_others,
            open_log=self._open_log,
            unmet_dependency=replicas.unmet_dependency,
            skipped_dependencies=replicas.skipped_dependencies,
            on_end=self.exit_watch.on_end,
            record_processes=record.write_soon,
            next_run=lambda name: self._next_runs.get(name, 0.0),
        )

    # ------------------------------------------------------------ creating instances

    def start(self) -> None:
        """Create the instances of all services of the manifest. Return immediately."""
        self.started = True
        for name in dependency_graph.start_order(_dependencies(self.specs)):
            self.create_service(self.specs[name])

    def create_service(self, spec: ServiceSpec) -> None:
        """Create the instances of a service. They start only if `up` has selected the service."""
        self.replicas.add_service(spec.name)
        self._publish(spec, spec.replicas)
        for index in range(1, spec.replicas + 1):
            self._create_instance(spec, index)

    def resize(self, name: str, replicas: int) -> list[InstanceController]:
        """Create or remove instances of the service `name` until it has `replicas`; return the controllers being removed."""
        spec, controllers = self.specs[name], self.replicas.of(name)
        # A service that a user started, though `up` does not select it, gets running replicas, too.
        running = any(controller.desired.running for controller in controllers) or name in self._selected
        for index in range(len(controllers) + 1, replicas + 1):
            controller = self._create_instance(spec, index)
            if running and not spec.schedule:
                controller.start()
        surplus = self.replicas.shrink(name, replicas)
        for controller in surplus:
            controller.remove()
        self._publish(spec, replicas)
        return surplus

    def _create_instance(self, spec: ServiceSpec, index: int) -> InstanceController:
        """Create the controller of replica number `index`, start its task, and return the controller."""
        selected = spec.name in self._selected and not self.stop_requested.is_set()
        desired = desired_state.scheduled(selected) if spec.schedule else DesiredState(running=selected)
        id = instance_id(self.context.project_key, spec.name, index)
        controller = InstanceController(self._collaborators, spec, index, id, desired)
        self.registry_sync.on_created(id)  # an entry with this id is an earlier process'
        previous = self.replicas.add(controller)
        controller.publish()
        self._nursery.start_soon(self._run_instance, controller, previous)
        return controller

    async def _run_instance(self, controller: InstanceController, previous: InstanceController | None) -> None:
        """Run a controller until its instance has been removed; then drop the instance's row from the state store.

        `previous` is a removed controller with the same id, whose end is waited for first.
        """
        if previous is not None:
            # It was removed a moment ago and has the same id: two at a time would end each other's processes.
            await previous.finished.wait()
        await controller.run()
        if self.replicas.discard(controller):
            self.store.drop_instances(controller.id)
            self.context.logs.forget(controller.name)

    def _publish(self, spec: ServiceSpec, replicas: int) -> None:
        """Write the row of a service into the state store."""
        words = (spec.image, *((spec.shell,) if spec.shell else spec.command))
        self.store.put_services(
            ServiceView(
                name=spec.name,
                kind=spec.runtime,
                command=shown_command(spec, filter(None, words)),
                replicas=replicas,
                register=spec.register,
                depends_on=dict(spec.depends_on),
                optional_dependencies=spec.optional_dependencies,
                tags=spec.tags,
                groups=spec.groups,
                on_exit=spec.on_exit,
                schedule=spec.schedule,
                chosen=spec.name in self._selected,
            )
        )

    def _effective_specs(self, manifest: Manifest) -> dict[str, ServiceSpec]:
        """Return the manifest's services by name; the service of `up --exit-with` without the restart policy `always`."""
        name, specs = self.context.options.exit_with, dict(manifest.services)
        if name in specs and specs[name].restart.policy == "always":
            never = structs.replace(specs[name].restart, policy="never")
            specs[name] = structs.replace(specs[name], restart=never)
        return specs

    def _select(self, manifest: Manifest) -> frozenset[str]:
        """Return the names of the services that `up` starts, by its arguments and profiles."""
        return select_services(manifest.services, self.context.options.services, self.context.options.profiles)

    def unselected_dependencies(self, controllers: Sequence[InstanceController]) -> list[InstanceController]:
        """Return the controllers of stopped instances that `controllers` depend on and that `up` has not selected."""
        needed = dependency_graph.with_dependencies(
            {name: spec.required_dependencies for name, spec in self.specs.items()},
            {controller.spec.name for controller in controllers},
        )
        return [
            dependency
            for name in needed
            if name not in self._selected
            for dependency in self.replicas.of(name)
            if not dependency.desired.running and dependency not in controllers
        ]

    # ------------------------------------------------------------ changing services

    def adopt(self, manifest: Manifest) -> list[str]:
        """Use `manifest` from now on, without a change to running instances.

        Return the names of existing services that `up` did not select in the old manifest and selects in this one.
        """
        before = self._selected
        self.manifest, self.specs = manifest, self._effective_specs(manifest)
        self._selected = self._select(manifest)
        self.registry_sync.reserve_soon()
        # Replaced before it is set: a task that wakes up waits for the next manifest.
        adopted, self.manifest_adopted = self.manifest_adopted, CancelEvent()
        adopted.set()
        return [name for name in self.specs if name in self._selected and name in self.replicas and name not in before]

    def adjust_service(self, name: str) -> None:
        """Pass the manifest's spec of a service to its instances.

        They use settings that need no restart immediately, the others at their next start.
        """
        controllers = self.replicas.of(name)
        for controller in controllers:
            controller.adjust(self.specs[name])
        self._publish(self.specs[name], len(controllers))

    def set_next_run(self, name: str, due: float) -> None:
        """Show `due` (Unix seconds) as the next run of a scheduled service."""
        self._next_runs[name] = due
        for controller in self.replicas.of(name):
            controller.publish()

    async def rebuild_image(self, name: str) -> None:
        """Build the image of a service again; does nothing for a service without a build. Raises `StartError` on failure."""
        spec, controllers = self.specs[name], self.replicas.of(name)
        log = self.context.logs.logs.get(controllers[0].name) if controllers else None
        if spec.runtime == "container" and spec.build and log is not None:
            await self._runtimes.rebuild_image(spec, log)

    # ------------------------------------------------------------ stopping and removing

    async def stop_instances(self, controllers: Sequence[InstanceController]) -> None:
        """Stop instances and wait until they are down. Raises `StopTimeout` for those that are not down in time."""
        with trio.move_on_after(_longest_stop(controllers)) as deadline:
            await self._stop_and_wait(controllers)
        if deadline.cancelled_caught:
            _raise_stop_timeout([controller for controller in controllers if not controller.is_down])

    async def stop_service(self, name: str) -> None:
        """Stop the instances of a service and wait. Raises `StopTimeout` for those that are not down in time."""
        await self.stop_instances(self.replicas.of(name))

    async def remove_service(self, name: str) -> None:
        """Stop and remove the instances of a service, and the service. Raises `StopTimeout` for those not down in time."""
        controllers = self.replicas.of(name)
        for controller in controllers:
            controller.remove()
        try:
            await self.wait_removed(controllers)
        finally:
            # Slow instances belong to no service any more; their rows are dropped when they finish.
            self.replicas.remove_service(name)
            self.store.drop_instances(*(controller.id for controller in controllers if controller.finished.is_set()))
            self.store.drop_services(name)

    async def wait_removed(self, controllers: Sequence[InstanceController]) -> None:
        """Wait until the tasks of removed instances have ended. Raises `StopTimeout` for those that do not end in time."""
        with trio.move_on_after(_longest_stop(controllers)) as deadline:
            for controller in controllers:
                await controller.finished.wait()
        if deadline.cancelled_caught:
            _raise_stop_timeout([controller for controller in controllers if not controller.finished.is_set()])

    async def stop_all(self) -> None:
        """Stop all services in reverse order of their dependencies; remove what the container engine has of the project.

        Return when no process is alive, or when the time for the stop is over: then record an event that names the
        rest.
        """
        self.store.set_phase("stopping")
        dependencies = _dependencies(self.specs)
        members = {name: self.replicas.of(name) for name in dependencies}
        # An apply may be under way: a service that it has not created yet has no instances, and one that it removes is in no
        # manifest any more. The same holds for surplus replicas that are still being stopped.
        others = self.replicas.all.difference(*members.values())
        timeouts = {name: _longest_stop(controllers, shutdown=True) for name, controllers in members.items()}
        longest, _ = dependency_graph.longest_stop(dependencies, timeouts)
        longest = max(longest, _longest_stop(others, shutdown=True)) + KILL_TIMEOUT_S
        async with trio.open_nursery() as watching:
            watching.start_soon(self._runtimes.watch_engine)
            with trio.move_on_after(longest) as deadline:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._stop_and_wait, list(others))
                    dependents = {name: dependency_graph.dependents(dependencies, name) for name in dependencies}
                    nursery.start_soon(act_in_order, dependents, lambda name: self._stop_and_wait(members[name]))
            if deadline.cancelled_caught:
                self._report_stop_timeout(longest)
            leftovers = self.context.engine_leftovers = await self._runtimes.close()
            watching.cancel_scope.cancel()
        if leftovers:
            self.store.event("containers.not_removed", str(leftovers), "error")

    async def _stop_and_wait(self, controllers: Sequence[InstanceController]) -> None:
        """Stop instances at the same time; return when all are down."""
        for controller in controllers:
            controller.stop()
        for controller in controllers:
            await controller.wait_down()

    def _report_stop_timeout(self, waited: float) -> None:
        """Record an event that names the processes still alive after `waited` seconds."""
        alive = [
            (controller.name, controller.process.describe_alive())
            for controller in self.replicas.all
            if controller.process is not None
        ]
        names = "; ".join(f"{name}: {', '.join(holders)}" for name, holders in sorted(alive))
        self.store.event("supervisor.stop_timed_out", f"gave up waiting after {waited:.0f} s: {names}", "error")

    def _open_log(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> InstanceLog:
        return self.context.logs.open(spec.name, name, spec.logs, secrets)


def _dependencies(specs: dict[str, ServiceSpec]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(spec.depends_on) for name, spec in specs.items()}


def _longest_stop(controllers: Iterable[InstanceController], shutdown: bool = False) -> float:
    """Return the seconds that a stop of all these instances at the same time may take; 0 for none."""
    return max((stop_timeout(controller.spec.stop, shutdown) for controller in controllers), default=0.0)


def _raise_stop_timeout(alive: Sequence[InstanceController]) -> None:
    """Raise `StopTimeout` that names the instances in `alive`; return where there are none."""
    if alive:
        raise StopTimeout("; ".join(map(not_down, alive)))
