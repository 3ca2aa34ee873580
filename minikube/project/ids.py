"""The ids of instances. Pure.

An instance has the same id at every start and in every run, so that the registry's entry of an earlier run is recognized.
"""

from hashlib import sha256
from pathlib import Path

from minikube.manifest.validate import MAX_REPLICAS

ID_LENGTH = 8


def project_key(machine: str, directory: Path) -> str:
    """Return the text that a project's ids are derived from.

    It includes the machine's name: two machines that share a Redis may have the project in directories of the same name.
    """
    return f"{machine}\0{directory}"


def instance_id(project: str, service: str, index: int) -> str:
    """Return the id of a replica, eight hex digits. `index` counts from 1."""
    return sha256(f"{project}\0{service}\0{index}".encode("utf-8", "surrogateescape")).hexdigest()[:ID_LENGTH]


class ReplicaIds:
    """Recognizes the ids of all possible replicas of one project's services.

    The ids of a name are computed once: 1,000 hashes, half a millisecond and 100 KB. Other programs may register any number
    of names, so of the names that the caller does not know as the project's own only the first `max_others` are computed.
    """

    def __init__(self, project: str, max_others: int) -> None:
        self._project = project
        self._max_others = max_others
        self._ids: dict[str, frozenset[str]] = {}
        self._others = 0

    def has(self, service: str, id: str, *, is_own: bool = False) -> bool:
        """Return whether an id is that of a replica. `is_own`: the project is known to have the service.

        For a service that it is not known to have, an id may go unrecognized once there were too many such names.
        """
        if len(id) != ID_LENGTH:
            return False
        ids = self._ids.get(service)
        if ids is None:
            if not is_own:
                if self._others >= self._max_others:
                    return False
                self._others += 1
            numbers = range(1, MAX_REPLICAS + 1)
            ids = self._ids[service] = frozenset(instance_id(self._project, service, number) for number in numbers)
        return id in ids
