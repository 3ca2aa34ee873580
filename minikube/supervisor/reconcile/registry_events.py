"""Writes the registry's entries into the state store: of the project's instances, and of instances of other programs."""

from collections.abc import Mapping

from minikube.control.state_store import StateStore
from minikube.model import CheckState, Instance, ServiceView
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.status import external_instance_view


class RegistryEvents:
    """Writes the registry's entries into the state store. `controllers` are those of the project's instances, by id."""

    def __init__(self, store: StateStore, controllers: Mapping[str, InstanceController]) -> None:
        self._store = store
        self._controllers = controllers
        self.lookup_problem = ""
        """Why lookups at the registry find no instance now, whatever its entries say; empty while they do."""

    def on_entry(self, id: str, entry: Instance | None) -> None:
        """Update the row of the instance `id` from its registry entry; None: the registry has none any more."""
        if controller := self._controllers.get(id):
            self._update_own(controller, entry)
            return
        if entry is None:
            view = self._store.instance(id)
            self._store.drop_instances(id)
            if view is not None:
                self._drop_external_service(view.service)
            return
        # Services that the manifest does not have are shown as external ones, as long as they have instances.
        if self._store.service(entry.name) is None:
            self._store.put_services(ServiceView(entry.name, "external", register="self", tags=entry.tags))
        self._store.put_instances(external_instance_view(entry, self.lookup_problem))

    def on_rejected(self, text: str) -> None:
        """Record an event: the registry has rejected a registration or report. `text` says which and why."""
        self._store.event("registry.rejected", text, "error")

    def on_replaced(self, text: str) -> None:
        """Record that another client replaced the entry of one of the project's instances."""
        self._store.event("registry.replaced", text, "warning")

    def _update_own(self, controller: InstanceController, entry: Instance | None) -> None:
        """Pass an entry to the controller of the instance; record an event when the state of the check has changed."""
        before = controller.registry_entry
        controller.on_registry_update(entry)
        after = controller.registry_entry  # None for an entry of an earlier process
        if after is None or after.state is CheckState.STARTING or (before and before.state is after.state):
            return
        level = "warning" if after.state is CheckState.CRITICAL else "info"
        lines = after.output.strip().splitlines()
        reason = f": {lines[0]}" if lines and level == "warning" else ""
        state = "in maintenance" if after.state is CheckState.MAINTENANCE else after.state
        text = f"{controller.name} is {state}{reason}"
        self._store.event(f"check.{after.state}", text, level, service=after.name, instance=controller.name)

    def _drop_external_service(self, name: str) -> None:
        """Drop the row of a service that other programs registered, once it has no instances."""
        view = self._store.service(name)
        has_instances = any(instance.service == name for instance in self._store.snapshot.instances)
        if view is not None and view.kind == "external" and not has_instances:
            self._store.drop_services(name)
