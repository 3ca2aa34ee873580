"""The writer: changes that arrive while Redis is read are not taken for lost."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry.catalog.catalog import Catalog
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.redis.bridge import ThreadBridge
from minikube.registry.redis.types import CatalogDump, CatalogPosition
from minikube.registry.redis.writer import Writer

FIRST = Epoch(1, "first")


def entry(revision: int, id_: str) -> Entry:
    instance = Instance(
        id_, "product", Address("127.0.0.1", revision), "ttl:", CheckState.PASSING, revision=revision, incarnation=1
    )
    return Entry(revision, ChangeKind.PUT, Record(instance), f"n{revision}")


class Listener:
    """A catalog of one registry."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.catalog.apply_snapshot(StoreSnapshot(FIRST, 0, "", (), (), 0))

    def position(self) -> CatalogPosition:
        catalog = self.catalog
        return CatalogPosition(catalog.epoch, catalog.revision, catalog.nonce, len(catalog.records), catalog.has_gap)

    def dump(self) -> CatalogDump:
        return CatalogDump(self.position(), tuple(self.catalog.records.values()), (), tuple(self.catalog.log))

    def on_snapshot(self, snapshot: StoreSnapshot, unsaved: object) -> None:
        self.catalog.apply_snapshot(snapshot)


def test_a_change_that_arrives_while_redis_is_read_is_not_taken_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower applies it to the catalog, which then is ahead of what was read."""
    listener, bridge = Listener(), ThreadBridge("redis://unused", "{x}", "node")
    monkeypatch.setattr(ThreadBridge, "listener", listener)
    monkeypatch.setattr(bridge, "call", lambda function: function())
    one, two = entry(1, "a"), entry(2, "b")
    listener.catalog.apply(one)
    restored: list[Any] = []

    def read_snapshot() -> tuple[StoreSnapshot, list[str]]:
        snapshot = StoreSnapshot(FIRST, 1, "n1", (one.record,), (one,), 0)
        listener.catalog.apply(two)
        return snapshot, []

    writer = Writer(bridge)
    writer._connection = cast(
        Any, SimpleNamespace(read_snapshot=read_snapshot, restore=lambda *arguments: restored.append(arguments))
    )
    writer._synchronize()
    assert not restored
    assert listener.catalog.revision == 2
    assert set(listener.catalog.records) == {"a", "b"}
