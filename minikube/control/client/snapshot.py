"""The project's state on a client: a snapshot plus the deltas that follow it gives the next snapshot. Pure functions.

A delta that does not continue the snapshot raises; the client must then ask for a new snapshot.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from minikube.model import Delta, ServiceView, Snapshot

EVENTS_SHOWN = 200
"""Number of the latest events that a snapshot contains."""

Row = TypeVar("Row")

_decoder: msgspec.json.Decoder[Snapshot | Delta] = msgspec.json.Decoder(Snapshot | Delta)


def decode_update(data: bytes | str) -> Snapshot | Delta:
    """Decode a message of `/v1/stream`. Raise `msgspec.DecodeError` if it is malformed."""
    return _decoder.decode(data)


def apply_update(snapshot: Snapshot | None, update: Snapshot | Delta) -> Snapshot:
    """Return the snapshot that follows after `update`. Raise ValueError for a delta that starts from another revision."""
    if isinstance(update, Snapshot):
        return update
    if snapshot is None:
        raise ValueError("a delta came before the first snapshot")
    return apply_delta(snapshot, update)


def apply_delta(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """Return the snapshot after the delta. Raise ValueError if the delta starts from another revision."""
    if delta.since != snapshot.revision:
        raise ValueError(f"the delta continues revision {delta.since}, the snapshot is {snapshot.revision}")
    removed_services = frozenset(delta.gone_services)
    removed_instances = frozenset(delta.gone_instances)
    return msgspec.structs.replace(
        snapshot,
        revision=delta.revision,
        time=delta.time,
        phase=delta.phase or snapshot.phase,
        parts=_merge(snapshot.parts, delta.parts, frozenset(), lambda part: part.name),
        services=_merge(snapshot.services, delta.services, removed_services, lambda service: service.name),
        instances=_merge(snapshot.instances, delta.instances, removed_instances, lambda instance: instance.id),
        usage=_merge(snapshot.usage, delta.usage, removed_instances, lambda usage: usage.id),
        events=(snapshot.events + delta.events)[-EVENTS_SHOWN:] if delta.events else snapshot.events,
    )


def dependency_texts(service: ServiceView) -> list[str]:
    """Return a text such as `cache (healthy, optional)` for each dependency of a service."""
    return [
        f"{name} ({condition}{', optional' if name in service.optional_dependencies else ''})"
        for name, condition in service.depends_on.items()
    ]


def dependents(services: Iterable[ServiceView], name: str) -> list[str]:
    """Return the names of the services that depend on the service `name`, directly or not, in alphabetical order."""
    found: set[str] = set()
    services = tuple(services)
    added = {name}
    while added:
        added = {service.name for service in services if not added.isdisjoint(service.depends_on)} - found - {name}
        found |= added
    return sorted(found)


def _merge(
    rows: tuple[Row, ...], changed: Iterable[Row], removed: frozenset[str], key: Callable[[Row], str]
) -> tuple[Row, ...]:
    """Return the rows after a delta: without the `removed` keys, changed rows replaced in place, new ones appended."""
    if not changed and not removed:
        return rows
    merged = {key(row): row for row in rows if key(row) not in removed}
    merged.update((key(row), row) for row in changed)
    return tuple(merged.values())
