"""A registry node with a store in memory: how much strangers can make it remember."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from minikube.errors import MinikubeError
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry import node as module
from minikube.registry.catalog.catalog import Snapshot
from minikube.registry.catalog.records import Epoch, Record, size_of
from minikube.registry.config import RegistryConfig
from minikube.registry.node import Node
from minikube.registry.redis.types import Write


@asynccontextmanager
async def open_node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        node = Node(RegistryConfig(), nursery)
        node.catalog.adopt(Snapshot(Epoch(1, "first", 0), 0, "", (), (), 0))

        async def commit(op: Write | str) -> tuple[str, int, int]:
            assert isinstance(op, Write)
            await trio.lowlevel.checkpoint()
            revision = node.catalog.revision + 1
            incarnation = revision if op.kind is ChangeKind.PUT else op.record.instance.incarnation
            node.committed(op, revision, incarnation, "")
            return "ok", revision, incarnation

        monkeypatch.setattr(node.store, "commit", commit)
        yield node


def record(number: int, **more: Any) -> Record:
    address = Address("127.0.0.1", number)
    return Record(Instance(f"{number:08x}", "job", address, "ttl:", CheckState.STARTING, **more))


async def test_one_registration_too_many_is_refused_and_the_others_may_register_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_REGISTRATIONS", 2)
    async with open_node(monkeypatch) as node:
        await node.register(record(1))
        await node.register(record(2))
        with pytest.raises(MinikubeError, match="2 instances are registered, 2 are the most — deregister some"):
            await node.register(record(3))
        await node.register(record(2, meta={"version": "2"}))
        assert await node.remove("00000001")
        await node.register(record(3))
        assert set(node.catalog.records) == {"00000002", "00000003"}


async def test_registrations_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3_000)
    async with open_node(monkeypatch) as node:
        await node.register(record(1, meta={"more": "x" * 1_000}))
        with pytest.raises(MinikubeError, match="over 3000 bytes — deregister some, or give them less Meta"):
            await node.register(record(2, meta={"more": "x" * 2_000}))
        with pytest.raises(MinikubeError, match="over 3000 bytes"):
            await node.register(record(1, meta={"more": "x" * 3_000}))
        await node.register(record(1))
        await node.register(record(2, meta={"more": "x" * 2_000}))


async def test_the_size_is_that_of_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(monkeypatch) as node:
        for number in (1, 2, 3, 1):
            await node.register(record(number, tags=("a",) * number))
        await node.register(replace(record(4), instance=replace(record(4).instance, uuid="00000003")))
        await node.remove("00000002")
        assert node.catalog.size == sum(map(size_of, node.catalog.records.values())) > 0
        await node.remove("00000001")
        await node.remove("00000003")
        assert node.catalog.size == 0
