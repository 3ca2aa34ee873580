"""The controllers of all instances, by service, name and id, those of removed instances that still stop included.

Starts, stops and waits for none of them.
"""

from collections.abc import Iterator

from minikube.manifest import ServiceSpec
from minikube.model import ProcessState
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.dependencies import DependencyStatus, unmet_condition


class ReplicaSet:
    """The controllers of the project's instances. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._services: dict[str, list[InstanceController]] = {}
        self.by_id: dict[str, InstanceController] = {}
        """With removed instances that still stop."""
        self.all: set[InstanceController] = set()
        """The same, and removed instances whose successor with the same id waits for their end."""

    def __contains__(self, service: object) -> bool:
        return service in self._services

    def __iter__(self) -> Iterator[InstanceController]:
        """Iterate over the instances of all services, without removed ones."""
        for controllers in self._services.values():
            yield from controllers

    def of(self, service: str) -> list[InstanceController]:
        """Return the instances of a service, without removed ones; none for an unknown service."""
        return list(self._services.get(service, ()))

    def find(self, name: str) -> list[InstanceController]:
        """Return the instances of a service, or the one instance with that name or id; none for an unknown name."""
        if name in self._services:
            return self.of(name)
        return [controller for controller in self if name in (controller.name, controller.id)][:1]

    def find_with_removed(self, name: str) -> list[InstanceController]:
        """Return what `find` does, and removed instances of that name that still stop: they can be stopped and killed."""
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
        """Remove a service; its instances that still stop stay in `all` and `by_id`."""
        del self._services[service]

    def add(self, controller: InstanceController) -> InstanceController | None:
        """Add an instance; return a removed one that still stops under the same id."""
        previous = self.by_id.get(controller.id)
        # Ids are derived from the replica's number: a replica that is added again has the id of the removed one.
        self._services[controller.spec.name].append(controller)
        self.by_id[controller.id] = controller
        self.all.add(controller)
        return previous

    def shrink(self, service: str, replicas: int) -> list[InstanceController]:
        """Take the last instances out of the service until `replicas` are left; return those taken out."""
        controllers = self._services[service]
        surplus = controllers[replicas:]
        del controllers[replicas:]
        return surplus

    def discard(self, controller: InstanceController) -> bool:
        """Forget an instance that has finished. Return False where another one has its id already."""
        self.all.discard(controller)
        if self.by_id.get(controller.id) is not controller:
            return False
        del self.by_id[controller.id]
        return True

    def ports_of_others(self, id: str) -> frozenset[int]:
        """Return the ports of all instances but one, whether they listen yet or not."""
        return frozenset(controller.port for controller in self if controller.id != id and controller.port)

    # ------------------------------------------------------------ dependencies

    def dependency_statuses(self, service: str) -> list[DependencyStatus]:
        """Return what the dependents of a service need to know of its instances."""
        return [controller.dependency_status for controller in self.of(service)]

    def unmet_dependency(self, spec: ServiceSpec) -> str:
        """Return why a service cannot start yet, in one line; an empty string when it can."""
        for name, condition in spec.depends_on.items():
            if reason := unmet_condition(name, condition, self.dependency_statuses(name)):
                return reason
        return ""

    def blocked_dependency(self, spec: ServiceSpec) -> str:
        """Return why a service can start neither now nor later without a user's help; an empty string where it can."""
        for name, condition in spec.depends_on.items():
            if reason := unmet_condition(name, condition, self.dependency_statuses(name)):
                controllers = self.of(name)
                if condition == "completed":
                    met_later = bool(controllers) and all(
                        self._will_start(controller) or controller.state.completed for controller in controllers
                    )
                else:
                    met_later = any(self._will_start(controller) for controller in controllers)
                if not met_later:
                    return reason
        return ""

    def _will_start(self, controller: InstanceController) -> bool:
        """Return whether the instance runs or will run, and waits for nothing that will not."""
        if not lifecycle.will_start(controller.state, controller.desired, bool(controller.spec.schedule)):
            return False
        # The recursion ends: a manifest's dependencies have no cycle.
        pending = controller.state.process_state is ProcessState.PENDING
        return not pending or not self.blocked_dependency(controller.spec)
