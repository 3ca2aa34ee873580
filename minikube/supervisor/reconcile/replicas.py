"""The controllers of all instances by service, name and id, also of removed instances that are still being stopped.

It starts, stops and waits for no instance.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from minikube.manifest import Condition, ServiceSpec
from minikube.model import ProcessState
from minikube.project.instance_ports import UsedPorts
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.dependencies import (
    DependencyStatus,
    has_failed,
    may_be_met,
    obstacle,
    unmet_condition,
)
from minikube.supervisor.instance.lifecycle import InstanceState


class ReplicaSet:
    """Holds the controllers of the project's instances. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._services: dict[str, list[InstanceController]] = {}
        self.by_id: dict[str, InstanceController] = {}
        """The controllers by instance id, also of removed instances that are still being stopped."""
        self.all: set[InstanceController] = set()
        """The same, and removed instances that a new instance with the same id waits for."""

    def __contains__(self, service: object) -> bool:
        return service in self._services

    def __iter__(self) -> Iterator[InstanceController]:
        """Iterate over the controllers of all services, without those of removed instances."""
        for controllers in self._services.values():
            yield from controllers

    def of(self, service: str) -> list[InstanceController]:
        """Return the controllers of a service, without removed instances; empty for an unknown service."""
        return list(self._services.get(service, ()))

    def find(self, name: str) -> list[InstanceController]:
        """Return the controllers of a service, or of the one instance with that name or id; empty for an unknown name."""
        if name in self._services:
            return self.of(name)
        return [controller for controller in self if name in (controller.name, controller.id)][:1]

    def find_with_removed(self, name: str) -> list[InstanceController]:
        """Return the controllers of `find`, and those of removed instances with that name that are still being stopped."""
        found = self.find(name)
        removed = (
            controller
            for controller in self.all
            if controller not in found and name in (controller.spec.name, controller.name, controller.id)
        )
        return [*found, *removed]

    def add_service(self, service: str) -> None:
        """Add a service without instances."""
        self._services[service] = []

    def remove_service(self, service: str) -> None:
        """Remove a service. Its instances that are still being stopped stay in `all` and `by_id`."""
        del self._services[service]

    def add(self, controller: InstanceController) -> InstanceController | None:
        """Add a controller to its service.

        Return the controller of a removed instance that has the same id and is still being stopped; None for none.
        """
        previous = self.by_id.get(controller.id)
        # Ids are derived from the replica's number: a replica that is added again has the id of the removed one.
        self._services[controller.spec.name].append(controller)
        self.by_id[controller.id] = controller
        self.all.add(controller)
        return previous

    def shrink(self, service: str, replicas: int) -> list[InstanceController]:
        """Take the last controllers out of the service until `replicas` are left; return those taken out."""
        controllers = self._services[service]
        surplus = controllers[replicas:]
        del controllers[replicas:]
        return surplus

    def discard(self, controller: InstanceController) -> bool:
        """Forget a controller whose task has ended. Return False where a newer controller has its id."""
        self.all.discard(controller)
        if self.by_id.get(controller.id) is not controller:
            return False
        del self.by_id[controller.id]
        return True

    def ports_of_others(self, id: str) -> UsedPorts:
        """Return the ports of all instances except the instance `id`, whether they listen yet or not."""
        return frozenset(port for controller in self if controller.id != id for port in controller.used_ports)

    # ------------------------------------------------------------ dependencies

    def dependency_statuses(self, service: str) -> list[DependencyStatus]:
        """Return the statuses of the instances of a service, for services that depend on it."""
        return [controller.dependency_status for controller in self.of(service)]

    def unmet_dependency(self, spec: ServiceSpec) -> str:
        """Return a text that names a dependency which is not met yet; empty when the service can start.

        An optional dependency is waited for only as long as it may be met without a user's request.
        """
        for name, condition in spec.depends_on.items():
            reason = unmet_condition(name, condition, self.dependency_statuses(name))
            if reason and (name not in spec.optional_dependencies or self._may_be_met(name, condition)):
                return reason
        return ""

    def blocked_dependency(self, spec: ServiceSpec) -> str:
        """Return a text that names a dependency which will not be met without a user's request; empty where there is none.

        Optional dependencies block nothing.
        """
        for name in spec.required_dependencies:
            condition = spec.depends_on[name]
            reason = unmet_condition(name, condition, self.dependency_statuses(name))
            if reason and not self._may_be_met(name, condition):
                return reason
        return ""

    def skipped_dependencies(self, spec: ServiceSpec) -> tuple[str, ...]:
        """Return a text, such as `cache: cache is fatal`, for each optional dependency that failed, so is not waited for."""
        found = []
        for name in spec.optional_dependencies:
            condition, statuses = spec.depends_on[name], self.dependency_statuses(name)
            if unmet_condition(name, condition, statuses) and has_failed(condition, self._foresee(name)):
                found.append(f"{name}: {obstacle(name, condition, statuses)}")
        return tuple(found)

    def _may_be_met(self, name: str, condition: Condition) -> bool:
        return may_be_met(condition, self._foresee(name))

    def _foresee(self, service: str) -> list[DependencyStatus]:
        """Return the statuses of the instances of a service; one that waits in vain for another service does not come."""
        return [
            replace(controller.dependency_status, may_come=self._will_start(controller))
            for controller in self.of(service)
        ]

    def final_state(self, controller: InstanceController) -> InstanceState | None:
        """Return the state of an instance that is `exited` or `fatal`, or that waits in vain: see `blocked_dependency`.

        None for any other instance.
        """
        state = controller.state
        if state.process_state is ProcessState.PENDING and (blocked := self.blocked_dependency(controller.spec)):
            return replace(state, reason=blocked)  # the instance itself learns of it a moment later
        return state if state.process_state.is_final else None

    def _will_start(self, controller: InstanceController) -> bool:
        """Return whether the instance runs or will run without a user's request, its dependencies considered."""
        if not lifecycle.will_start(controller.state, controller.desired, bool(controller.spec.schedule)):
            return False
        # The recursion ends: a manifest's dependencies have no cycle.
        pending = controller.state.process_state is ProcessState.PENDING
        return not pending or not self.blocked_dependency(controller.spec)
