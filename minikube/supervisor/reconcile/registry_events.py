"""Writes the registry's entries into the state store: of the project's instances, and of instances of other programs."""

from collections import Counter
from collections.abc import Mapping

from minikube.control.state_store import StateStore
from minikube.model import CheckState, Instance, ServiceView
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.status import external_instance_view

EXTERNAL_SHOWN = 500
"""The most instances of other programs that are shown. One client may register 10,000 within seconds: each would be a row of
every snapshot, and each change of one an update of every reader."""


class RegistryEvents:
    """Writes the registry's entries into the state store. `controllers` are those of the project's instances, by id.

    Of instances of other programs it shows `EXTERNAL_SHOWN`; the changes of the others cost one look-up each.
    """

    def __init__(self, store: StateStore, controllers: Mapping[str, InstanceController]) -> None:
        self._store = store
        self._controllers = controllers
        self._shown: dict[str, str] = {}
        """The names under which instances of other programs are shown, by id."""
        self._shown_by_name: Counter[str] = Counter()
        """The number of instances in `_shown` of each name."""
        self._hidden: dict[str, Instance] = {}
        """The entries of other programs that are not shown, by id."""
        self._is_limit_reported = False
        self.lookup_problem = ""
        """Why lookups at the registry find no instance now, whatever its entries say; empty while they do."""

    def on_entry(self, id: str, entry: Instance | None) -> None:
        """Update the row of the instance `id` from its registry entry; None: the registry has none any more."""
        if controller := self._controllers.get(id):
            self._hidden.pop(id, None)
            self._forget_shown(id)
            self._update_own(controller, entry)
        elif entry is None:
            self._drop_external(id)
        elif id in self._shown or len(self._shown) < EXTERNAL_SHOWN:
            self._show_external(entry)
        else:
            self._hidden[id] = entry
            self._report_limit()

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

    def _show_external(self, entry: Instance) -> None:
        """Write the row of an instance of another program, and that of its service where there is none."""
        if self._shown.get(entry.uuid) != entry.name:
            self._forget_shown(entry.uuid)
            self._shown[entry.uuid] = entry.name
            self._shown_by_name[entry.name] += 1
        # Services that the manifest does not have are shown as external ones, as long as they have instances.
        if self._store.service(entry.name) is None:
            self._store.put_services(ServiceView(entry.name, "external", register="self", tags=entry.tags))
        self._store.put_instances(external_instance_view(entry, self.lookup_problem))

    def _drop_external(self, id: str) -> None:
        """Drop the row of an instance that the registry does not have any more, and show another one in its place."""
        if self._hidden.pop(id, None) is not None:
            return
        self._store.drop_instances(id)
        self._forget_shown(id)
        if self._hidden and len(self._shown) < EXTERNAL_SHOWN:
            # The newest: a dictionary finds its oldest key in ever more time while its first keys are removed.
            self._show_external(self._hidden.popitem()[1])

    def _forget_shown(self, id: str) -> None:
        """Drop the row of the service of an instance of another program, if it was the last one shown."""
        name = self._shown.pop(id, None)
        if name is None:
            return
        self._shown_by_name[name] -= 1
        if self._shown_by_name[name]:
            return
        del self._shown_by_name[name]
        view = self._store.service(name)
        if view is not None and view.kind == "external":
            self._store.drop_services(name)

    def _report_limit(self) -> None:
        """Record an event, once in a run: not all instances of other programs are shown."""
        if not self._is_limit_reported:
            self._is_limit_reported = True
            text = f"other programs registered more than {EXTERNAL_SHOWN} instances: the rest is in the registry, but not shown"
            self._store.event("registry.rows_limited", text, "warning")
