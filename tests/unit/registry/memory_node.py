"""A registry node with a store in memory, and its records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry.catalog.records import Epoch, Record, StoreSnapshot
from minikube.registry.node import RegistryNode
from minikube.registry.redis.gateway import RedisGateway
from minikube.registry.redis.types import CommitResult, Write


class MemoryStore(RedisGateway):
    """A store that commits every write at once."""

    def __init__(self) -> None:
        super().__init__("redis://unused", "{minikube}", "node")
        self.node: RegistryNode | None = None
        self.may_commit = trio.Event()
        self.may_commit.set()

    async def commit(self, write: Write) -> CommitResult:
        assert self.node is not None
        await self.may_commit.wait()
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


def record(number: int, owner: str = "", **more: Any) -> Record:
    address = Address("127.0.0.1", number)
    return Record(Instance(f"{number:08x}", "job", address, "ttl:", CheckState.STARTING, **more), owner=owner)
