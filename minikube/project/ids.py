"""Instances' ids (floor 3): the same at every start and every `up`, so that an entry of an earlier run is known again. Pure."""

from hashlib import sha256
from pathlib import Path

from minikube.manifest.validate import MAX_REPLICAS


def project_key(machine: str, directory: Path) -> str:
    """What a project's ids are made of. Two machines that share a Redis may have it in directories of one name."""
    return f"{machine}\0{directory}"


def instance_id(project: str, service: str, index: int) -> str:
    """Eight hex digits. `index` is the replica's number, from 1 up."""
    return sha256(f"{project}\0{service}\0{index}".encode()).hexdigest()[:8]


def is_replica(project: str, service: str, id: str) -> bool:
    """Whether the project has given this id to an instance of the service, or would."""
    return any(instance_id(project, service, index) == id for index in range(1, MAX_REPLICAS + 1))
