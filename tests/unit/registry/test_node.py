"""A registry node with a store in memory: the bounds of what clients can register."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from minikube.errors import MinikubeError
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry import node as module
from minikube.registry.catalog.records import Epoch, Record, StoreSnapshot, json_size
from minikube.registry.node import RegistryNode
from minikube.registry.redis.gateway import RedisGateway
from minikube.registry.redis.types import CommitResult, Write


class MemoryStore(RedisGateway):
    """A store that commits every write at once."""

    def __init__(self) -> None:
        super().__init__("redis://unused", "{minikube}", "node")
        self.node: RegistryNode | None = None

    async def commit(self, write: Write) -> CommitResult:
        assert self.node is not None
        await trio.lowlevel.checkpoint()
        revision = self.node.catalog.revision + 1
        incarnation = revision if write.kind is ChangeKind.PUT else write.record.instance.incarnation
        result = CommitResult(True, revision, incarnation)
        self.node.on_committed(write, result, "")
        return result


@asynccontextmanager
async def open_node() -> AsyncIterator[RegistryNode]:
    async with trio.open_nursery() as nursery:
        store = MemoryStore()
        store.node = node = RegistryNode("node", store, nursery)
        node.catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
        yield node


def record(number: int, **more: Any) -> Record:
    address = Address("127.0.0.1", number)
    return Record(Instance(f"{number:08x}", "job", address, "ttl:", CheckState.STARTING, **more))


async def test_one_registration_too_many_is_refused_and_known_ones_may_register_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_REGISTRATIONS", 2)
    async with open_node() as node:
        await node.register(record(1))
        await node.register(record(2))
        with pytest.raises(MinikubeError, match="2 instances are registered, 2 are the most — deregister some"):
            await node.register(record(3))
        await node.register(record(2, meta={"version": "2"}))
        assert await node.remove("00000001")
        await node.register(record(3))
        assert set(node.catalog.records) == {"00000002", "00000003"}


async def test_all_registrations_together_have_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3_000)
    async with open_node() as node:
        await node.register(record(1, meta={"more": "x" * 1_000}))
        with pytest.raises(MinikubeError, match="over 3000 bytes — deregister some, or give them less Meta"):
            await node.register(record(2, meta={"more": "x" * 2_000}))
        with pytest.raises(MinikubeError, match="over 3000 bytes"):
            await node.register(record(1, meta={"more": "x" * 3_000}))
        await node.register(record(1))
        await node.register(record(2, meta={"more": "x" * 2_000}))


async def test_the_total_size_follows_the_records() -> None:
    async with open_node() as node:
        for number in (1, 2, 3, 1):
            await node.register(record(number, tags=("a",) * number))
        await node.register(replace(record(4), instance=replace(record(4).instance, uuid="00000003")))
        await node.remove("00000002")
        assert node.catalog.total_bytes == sum(map(json_size, node.catalog.records.values())) > 0
        await node.remove("00000001")
        await node.remove("00000003")
        assert node.catalog.total_bytes == 0
