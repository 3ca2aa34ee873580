"""The ids of instances. Pure.

An instance has the same id at every start and in every run, so that the registry's entry of an earlier run is recognized.
"""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from minikube.manifest.validate import MAX_REPLICAS

ID_LENGTH = 8

CACHED_SERVICES = 64
"""The names whose ids are kept: about 100 KB each."""


def project_key(machine: str, directory: Path) -> str:
    """Return the text that a project's ids are derived from.

    It includes the machine's name: two machines that share a Redis may have the project in directories of the same name.
    """
    return f"{machine}\0{directory}"


def instance_id(project: str, service: str, index: int) -> str:
    """Return the id of a replica, eight hex digits. `index` counts from 1."""
    return sha256(f"{project}\0{service}\0{index}".encode()).hexdigest()[:ID_LENGTH]


def is_replica(project: str, service: str, id: str) -> bool:
    """Return whether an id is that of any possible replica of the project's service."""
    # The registry's other entries come here at each of their changes, in thousands: a name's ids are computed once.
    return len(id) == ID_LENGTH and id in _replica_ids(project, service)


@lru_cache(maxsize=CACHED_SERVICES)
def _replica_ids(project: str, service: str) -> frozenset[str]:
    """Return the ids of all possible replicas of a service."""
    return frozenset(instance_id(project, service, index) for index in range(1, MAX_REPLICAS + 1))
