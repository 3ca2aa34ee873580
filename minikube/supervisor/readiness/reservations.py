"""What the supervisor tells the registry about its manifest: which names are reserved, and for which users and instances.

It refuses to send anything: `registry_sync` does.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final

import msgspec
from msgspec import Struct

from minikube.errors import StartError
from minikube.linux.credentials import find_credentials
from minikube.manifest import ServiceSpec

PART_BYTES: Final = 32_768
"""Half of the longest line: a manifest of hundreds of services is sent in parts."""


class ReservedService(Struct, frozen=True, rename="pascal"):
    """One service of the manifest. `port` is 0 where the manifest gives no fixed one, `user` None where it gives none."""

    user: int | None
    host: str
    port: int
    instances: tuple[str, ...]


Reservations = dict[str, ReservedService]


def make_reservations(specs: Mapping[str, ServiceSpec], instances: Iterable[tuple[ServiceSpec, str]]) -> Reservations:
    """Return what is reserved for the services of a manifest and for `instances`, each with its service.

    Instances of a removed service, which still stop, keep their name reserved. Blocks while a user database is read.
    """
    instances = tuple(instances)
    names = {spec.name: spec for spec, _ in instances} | dict(specs)
    ids: dict[str, list[str]] = {}
    for spec, id in instances:
        ids.setdefault(spec.name, []).append(id)
    return {name: _reserve(spec, tuple(ids.get(name, ()))) for name, spec in names.items()}


def split_reservations(reservations: Reservations) -> Iterator[Reservations]:
    """Return the reservations in parts that fit into a line; at least one part."""
    part: Reservations = {}
    size = 0
    for name, reserved in reservations.items():
        length = len(msgspec.json.encode({name: reserved}))
        if part and size + length > PART_BYTES:
            yield part
            part, size = {}, 0
        part[name] = reserved
        size += length
    yield part


def _reserve(spec: ServiceSpec, instances: tuple[str, ...]) -> ReservedService:
    port = 0 if spec.auto_port else spec.port
    return ReservedService(_user_id(spec.user, spec.group), spec.host, port, instances)


@cache
def _user_id(user: str, group: str) -> int | None:
    """Return the user's id; None for no user and for one that does not exist: the start of the service says so."""
    try:
        return find_credentials("", user, group).user
    except StartError:
        return None
