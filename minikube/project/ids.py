"""The ids of instances. Pure.

An instance has the same id at every start and in every run, so that the registry's entry of an earlier run is recognized.
"""

from hashlib import sha256
from pathlib import Path

from minikube.manifest.validate import MAX_REPLICAS


def project_key(machine: str, directory: Path) -> str:
    """Return the text that a project's ids are derived from.

    It includes the machine's name: two machines that share a Redis may have the project in directories of the same name.
    """
    return f"{machine}\0{directory}"


def instance_id(project: str, service: str, index: int) -> str:
    """Return the id of a replica, eight hex digits. `index` counts from 1."""
    return sha256(f"{project}\0{service}\0{index}".encode()).hexdigest()[:8]


def is_replica(project: str, service: str, id: str) -> bool:
    """Return whether an id is that of any possible replica of the project's service."""
    return any(instance_id(project, service, index) == id for index in range(1, MAX_REPLICAS + 1))
