"""A registry node with a store in memory: the bounds of what clients can register."""

from collections.abc import Callable

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from minikube.jsonrpc.messages import CONFLICT, RpcError
from minikube.registry.catalog import owner_usage
from minikube.registry.catalog.records import Record, json_size
from minikube.registry.node import RegistryNode
from tests.unit.registry.memory_node import MemoryStore, open_node, record


async def register_own(node: RegistryNode, new: Record) -> Record:
    """Register an instance of the supervisor's project, which may use all of the room."""
    return await node.register(new, may_use_reserve=True)


async def test_one_registration_too_many_is_refused_and_known_ones_may_register_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner_usage, "MAX_REGISTRATIONS", 2)
    async with open_node() as node:
        await register_own(node, record(1))
        await register_own(node, record(2))
        with pytest.raises(RpcError, match="2 instances are registered, 2 are the most — deregister some"):
            await register_own(node, record(3))
        await register_own(node, record(2, meta={"version": "2"}))
        assert await node.remove("00000001")
        await register_own(node, record(3))
        assert set(node.catalog.records) == {"00000002", "00000003"}


async def test_all_registrations_together_have_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_usage, "MAX_BYTES", 3_000)
    async with open_node() as node:
        await register_own(node, record(1, meta={"more": "x" * 1_000}))
        with pytest.raises(RpcError, match="over 3000 bytes — deregister some, or give them less Meta"):
            await register_own(node, record(2, meta={"more": "x" * 2_000}))
        with pytest.raises(RpcError, match="over 3000 bytes"):
            await register_own(node, record(1, meta={"more": "x" * 3_000}))
        await register_own(node, record(1))
        await register_own(node, record(2, meta={"more": "x" * 2_000}))


async def test_one_owner_may_have_half_of_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_usage, "MAX_REGISTRATIONS", 8)
    async with open_node() as node:
        for number in range(1, 5):
            await node.register(record(number, owner="user 1"))
        with pytest.raises(RpcError, match="job: user 1 has 4 entries, 4 are the most of one owner") as refused:
            await node.register(record(5, owner="user 1"))
        assert refused.value.code == -32029
        await node.register(record(4, owner="user 1", meta={"version": "2"}))
        await node.register(record(5, owner="user 2"))
        assert await node.remove("00000001")
        await node.register(record(6, owner="user 1"))


async def test_registrations_at_the_same_time_do_not_pass_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are being written count, and one that failed counts no more."""
    monkeypatch.setattr(owner_usage, "MAX_REGISTRATIONS", 8)
    refused: list[int] = []

    async def register(number: int) -> None:
        try:
            await node.register(record(number, owner="user 1"))
        except RpcError:
            refused.append(number)

    async with open_node() as node:
        store = node.store
        assert isinstance(store, MemoryStore)
        store.may_commit = trio.Event()
        with trio.CancelScope() as cancelled:
            async with trio.open_nursery() as nursery:
                for number in range(1, 8):
                    nursery.start_soon(register, number)
                await trio.testing.wait_all_tasks_blocked()
                assert len(refused) == 3
                cancelled.cancel()
        async with trio.open_nursery() as nursery:
            for number in range(1, 8):
                nursery.start_soon(register, number)
            await trio.testing.wait_all_tasks_blocked()
            store.may_commit.set()
        assert (len(node.catalog.records), len(refused)) == (4, 6)
        assert await node.remove(next(iter(node.catalog.records)))
        await node.register(record(8, owner="user 1"))


async def test_an_eighth_of_the_room_is_kept_for_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_usage, "MAX_REGISTRATIONS", 8)
    async with open_node() as node:
        for number in range(1, 8):
            await node.register(record(number, owner=f"user {number}"))
        with pytest.raises(RpcError, match="7 instances are registered, 7 are the most"):
            await node.register(record(8, owner="user 8"))
        await register_own(node, record(8, owner="instance 8 of job"))


async def test_one_owner_may_have_half_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_usage, "MAX_BYTES", 8_000)
    async with open_node() as node:
        await node.register(record(1, owner="user 1", meta={"more": "x" * 3_000}))
        with pytest.raises(RpcError, match="the entries of user 1 would have over 4000 bytes"):
            await node.register(record(2, owner="user 1", meta={"more": "x" * 1_000}))
        await node.register(record(2, owner="user 2", meta={"more": "x" * 1_000}))


async def test_the_total_size_follows_the_records() -> None:
    async with open_node() as node:
        for number in (1, 2, 3, 1):
            await node.register(record(number, tags=("a",) * number))
        await node.register(replace(record(4), instance=replace(record(4).instance, uuid="00000003")))
        await node.remove("00000002")
        assert node.catalog.usage.total_bytes == sum(map(json_size, node.catalog.records.values())) > 0
        await node.remove("00000001")
        await node.remove("00000003")
        assert node.catalog.usage.total_bytes == 0


def only_of(owner: str) -> Callable[[Record], None]:
    """Return a check that refuses to change the entries of other owners."""

    def check(old: Record) -> None:
        if old.owner != owner:
            raise RpcError(CONFLICT, f"it belongs to {old.owner}")

    return check


async def test_a_change_that_waits_for_another_one_is_checked_against_what_that_one_stored() -> None:
    async def replace_entry() -> None:
        with pytest.raises(RpcError, match="it belongs to user 1"):
            await node.register(record(1, "user 2"), only_of("user 2"))

    async def remove_entry() -> None:
        with pytest.raises(RpcError, match="it belongs to user 1"):
            await node.remove("00000001", None, only_of("user 2"))

    async with open_node() as node, trio.open_nursery() as nursery:
        store = node.store
        assert isinstance(store, MemoryStore)
        store.may_commit = trio.Event()
        nursery.start_soon(node.register, record(1, "user 1"), only_of("user 1"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(replace_entry)
        nursery.start_soon(remove_entry)
        await trio.testing.wait_all_tasks_blocked()
        store.may_commit.set()
    assert node.catalog.records["00000001"].owner == "user 1"


async def test_an_entry_that_moves_to_the_address_of_another_owners_entry_is_refused() -> None:
    async with open_node() as node:
        await node.register(record(1, "user 1"))
        await node.register(record(2, "user 2"))
        moved = replace(record(1, "user 2"), instance=replace(record(1).instance, uuid="00000002"))
        with pytest.raises(RpcError, match="it belongs to user 1"):
            await node.register(moved, only_of("user 2"))
        assert {known.owner for known in node.catalog.records.values()} == {"user 1", "user 2"}
