"""The entries of a project's earlier run, when its own registry starts. Pure.

After `kill -9` of the supervisor Redis still has the entries of its instances, which are dead. The registry of the next run
takes none of them for passing until it is confirmed: by a probe, by a renewal, or by a new registration.
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from minikube.model import CheckState
from minikube.project.ids import ReplicaIds, project_key
from minikube.registry.catalog.records import Record

MAX_NAMES = 500
"""So many names are looked at: any client can register any number of names."""

OUTPUT = "registered by an earlier run of this project, and not confirmed yet"


class EarlierRun:
    """Finds the instances that the supervisor of a project registered, or had registered, before `since` (Unix seconds;
    infinity for the first registry of a run)."""

    def __init__(self, project: str = "", since: float = 0.0) -> None:
        self._since = since
        self._ids = ReplicaIds(project, MAX_NAMES)

    @staticmethod
    def parse(text: str, machine: str) -> "EarlierRun":
        """Return the object of the text `TIME DIRECTORY` (`REGISTRY_RUN_ENV`); of any other text, one that finds nothing."""
        since, _, directory = text.partition(" ")
        try:
            return EarlierRun(project_key(machine, Path(directory)), float(since)) if directory else EarlierRun()
        except ValueError:
            return EarlierRun()

    def withdraw(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Return the records with those of the earlier run as not passing; all others, other clients' too, as they are."""
        return tuple(_withdrawn(record) if self._is_unconfirmed(record) else record for record in records)

    def _is_unconfirmed(self, record: Record) -> bool:
        instance = record.instance
        if record.check_state is not CheckState.PASSING or instance.registered >= self._since:
            return False
        return self._ids.has(instance.name, record.id)


def _withdrawn(record: Record) -> Record:
    # A `ttl:` instance in `starting` would pass at once: its registration counts as the first renewal.
    state = CheckState.CRITICAL if record.is_ttl else CheckState.STARTING
    if record.instance.state is CheckState.MAINTENANCE:
        return replace(record, state_after_maintenance=state)
    return replace(record, instance=replace(record.instance, state=state, output=OUTPUT))
