"""`@group` and `@tag:x` in the names of a command: the services of the running project that they stand for. Few imports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from minikube.project.selection.groups import expand_names, group_names, known_names

if TYPE_CHECKING:
    from minikube.model import ServiceView, Snapshot

__all__ = ["expand_groups", "group_names", "known_names", "own_services"]


def expand_groups(snapshot: Snapshot, names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` with each group replaced by its services. Raises NotFound for a group that no service is in."""
    return expand_names(own_services(snapshot), names)


def own_services(snapshot: Snapshot) -> tuple[ServiceView, ...]:
    """Return the services of the manifest, without those that other programs registered."""
    return tuple(service for service in snapshot.services if service.kind != "external")
