"""The writer: changes that arrive while Redis is read are not taken for lost."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from minikube.model import ChangeKind
from minikube.registry.catalog.records import Entry, StoreSnapshot
from minikube.registry.redis.bridge import ThreadBridge
from minikube.registry.redis.writer import Writer
from tests.unit.registry.memory_node import open_node, record


async def test_a_change_that_arrives_while_redis_is_read_is_not_taken_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower applies it to the catalog, which then is ahead of what was read."""
    async with open_node() as node:
        one, two = (Entry(number, ChangeKind.PUT, record(number, revision=number), "") for number in (1, 2))
        node.on_entries([one])
        restored: list[Any] = []

        def read_snapshot() -> tuple[StoreSnapshot, list[str]]:
            snapshot = StoreSnapshot(node.catalog.epoch, 1, "", (one.record,), (one,), 0)
            node.on_entries([two])
            return snapshot, []

        bridge = ThreadBridge("redis://unused", "{x}", "node")
        monkeypatch.setattr(ThreadBridge, "listener", node)
        monkeypatch.setattr(bridge, "call", lambda function: function())
        writer = Writer(bridge)
        commands = SimpleNamespace(read_snapshot=read_snapshot, restore=lambda *arguments: restored.append(arguments))
        writer._connection = cast(Any, commands)
        writer._synchronize()
        assert not restored
        assert (node.catalog.revision, set(node.catalog.records)) == (2, {"00000001", "00000002"})
