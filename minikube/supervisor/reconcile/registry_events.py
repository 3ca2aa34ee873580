"""What the registry says, put on the board (floor 3): of our own instances and of those that somebody else registered."""

from collections.abc import Mapping

from minikube.control.state_store import StateStore
from minikube.model import Instance, ServiceView
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.summary import external


class RegistryEvents:
    """Belongs to the trio thread. `runners` are ours, by id."""

    def __init__(self, board: StateStore, runners: Mapping[str, InstanceController]) -> None:
        self._board = board
        self._runners = runners

    def heard(self, id: str, found: Instance | None) -> None:
        """Merges a check into the board: one of ours, or an instance that someone else registered."""
        if runner := self._runners.get(id):
            self._tell(runner, found)
            return
        if found is None:
            view = self._board.instance(id)
            self._board.drop_instances(id)
            if view is not None:
                self._drop_external(view.service)
            return
        if self._board.service(found.name) is None:
            self._board.put_services(ServiceView(found.name, "external", register="self", tags=found.tags))
        self._board.put_instances(external(found))

    def refused(self, text: str) -> None:
        """The registry does not take one of ours, for a reason that repetition does not mend."""
        self._board.event("registry.refused", text, "error")

    def _tell(self, runner: InstanceController, found: Instance | None) -> None:
        known = runner.wellbeing.registry
        before = known.state if known else None
        runner.heard(found)
        found = runner.wellbeing.registry  # what is of an earlier life counts for nothing
        if found is not None and found.state is not before and found.state != "starting":
            level = "warning" if found.state == "critical" else "info"
            words = found.output.strip().splitlines()
            why = f": {words[0]}" if words and level == "warning" else ""
            text = f"{runner.name} is {found.state}{why}"
            self._board.event(f"check.{found.state}", text, level, service=found.name, instance=runner.name)

    def _drop_external(self, name: str) -> None:
        view = self._board.service(name)
        others = any(one.service == name for one in self._board.snapshot.instances)
        if view is not None and view.kind == "external" and not others:
            self._board.drop_services(name)
