"""Keeping a copy of the board (floor 2, pure): a snapshot and the deltas that follow make the next snapshot, and what that says.

It refuses to guess: a delta that does not continue the snapshot raises, and the reader asks for a fresh snapshot.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from minikube.model import Delta, ServiceView, Snapshot

EVENTS_SHOWN = 200
"""A snapshot has the latest so many."""

Row = TypeVar("Row")

_decoder: msgspec.json.Decoder[Snapshot | Delta] = msgspec.json.Decoder(Snapshot | Delta)


def decode_update(data: bytes | str) -> Snapshot | Delta:
    """One message of the stream. Raises `msgspec.DecodeError` on anything else."""
    return _decoder.decode(data)


def apply_delta(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """The snapshot after the delta. Raises ValueError when the delta starts from another revision."""
    if delta.since != snapshot.revision:
        raise ValueError(f"the delta continues revision {delta.since}, the snapshot is {snapshot.revision}")
    gone = frozenset(delta.gone_instances)
    return msgspec.structs.replace(
        snapshot,
        revision=delta.revision,
        time=delta.time,
        phase=delta.phase or snapshot.phase,
        parts=_merge(snapshot.parts, delta.parts, frozenset(), lambda part: part.name),
        services=_merge(
            snapshot.services, delta.services, frozenset(delta.gone_services), lambda service: service.name
        ),
        instances=_merge(snapshot.instances, delta.instances, gone, lambda instance: instance.id),
        usage=_merge(snapshot.usage, delta.usage, gone, lambda usage: usage.id),
        events=(snapshot.events + delta.events)[-EVENTS_SHOWN:] if delta.events else snapshot.events,
    )


def apply_update(snapshot: Snapshot | None, update: Snapshot | Delta) -> Snapshot:
    """The view after one message of the stream, whichever it is."""
    if isinstance(update, Snapshot):
        return update
    if snapshot is None:
        raise ValueError("a delta came before the first snapshot")
    return apply_delta(snapshot, update)


def dependents(services: Iterable[ServiceView], name: str) -> list[str]:
    """Who depends on the service, directly or through others, in alphabetical order: who suffers when it stops."""
    found: set[str] = set()
    services = tuple(services)
    grown = {name}
    while grown:
        grown = {s.name for s in services if not grown.isdisjoint(s.depends_on)} - found - {name}
        found |= grown
    return sorted(found)


def _merge(
    rows: tuple[Row, ...], changed: Iterable[Row], gone: frozenset[str], key: Callable[[Row], str]
) -> tuple[Row, ...]:
    """Gone rows leave, known ones are replaced where they stand, new ones are appended in the given order."""
    if not changed and not gone:
        return rows
    merged = {key(row): row for row in rows if key(row) not in gone}
    merged.update((key(row), row) for row in changed)
    return tuple(merged.values())
