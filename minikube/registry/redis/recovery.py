"""Decide whether the catalog and Redis have the same history, and what to write again after a loss. Pure.

A Redis that was emptied or restored from a backup has an older history than the catalog. The registry that finds it
first restores it and starts a new epoch (`writer.py`); the others find an epoch newer than theirs and take it over.
"""

from minikube.model import ChangeKind
from minikube.registry.catalog.records import Record, StoreSnapshot
from minikube.registry.redis.types import CatalogDump, CatalogPosition, Heartbeat, Write


def has_diverged(heartbeat: Heartbeat, position: CatalogPosition) -> bool:
    """Return whether Redis does not (or no longer) have the history that the catalog follows."""
    if heartbeat.epoch != position.epoch.id or heartbeat.revision < position.revision:
        return True
    if position.nonce and heartbeat.nonce != position.nonce:
        return True
    return heartbeat.revision == position.revision and heartbeat.registrations != position.registrations


def should_take_over(snapshot: StoreSnapshot, dump: CatalogDump) -> bool:
    """Return whether to load the snapshot into the catalog. False: Redis lost data and must be restored from the catalog."""
    return snapshot.epoch > dump.position.epoch or (bool(snapshot.epoch) and _contains_all(snapshot, dump))


def _contains_all(snapshot: StoreSnapshot, dump: CatalogDump) -> bool:
    """Return whether the snapshot, of the catalog's own epoch, contains everything up to the catalog's revision."""
    position = dump.position
    if snapshot.epoch != position.epoch or snapshot.revision < position.revision:
        return False
    if snapshot.revision == position.revision:
        stored = {record.id for record in snapshot.records}
        known = {record.id for record in dump.records}
        return stored == known and not (position.nonce and snapshot.nonce and snapshot.nonce != position.nonce)
    if position.nonce and position.revision > snapshot.compacted:
        return any(entry.revision == position.revision and entry.nonce == position.nonce for entry in snapshot.log)
    return True


def unsaved_writes(snapshot: StoreSnapshot, dump: CatalogDump) -> list[Write]:
    """Return the changes that the catalog has and the registry that started the snapshot's epoch did not know."""
    # Only for the direct successor of the catalog's epoch: `parent_revision` says nothing about older ones.
    if not dump.position.epoch or snapshot.epoch.number != dump.position.epoch.number + 1:
        return []
    stored = {record.id: record for record in snapshot.records}
    latest: dict[str, tuple[ChangeKind, Record]] = {}
    for entry in dump.log:
        if entry.revision > snapshot.epoch.parent_revision:
            latest[entry.record.id] = (entry.kind, entry.record)
    writes = []
    for id_, (kind, record) in latest.items():
        present = stored.get(id_)
        if kind is ChangeKind.PUT and (present is None or present.revision < record.revision):
            writes.append(Write(kind, record, present.revision if present else 0, present))
        elif kind is ChangeKind.GONE and present is not None and present.revision <= snapshot.epoch.parent_revision:
            writes.append(Write(kind, present, present.revision, present))
    return writes
