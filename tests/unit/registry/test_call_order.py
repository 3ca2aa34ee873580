"""Calls of one connection about the same instance take effect in the order in which they were sent."""

import contextlib
import os
import random
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from minikube.jsonrpc.messages import Request, RpcError
from minikube.model import ChangeKind
from minikube.net.peers import Peer
from minikube.net.rpc.interface import RpcConnection
from minikube.registry import call_order as module
from minikube.registry.access.access_control import AccessControl
from minikube.registry.access.tokens import TokenTable
from minikube.registry.call_order import CallOrder, instance_keys
from minikube.registry.catalog.records import Epoch, StoreSnapshot
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.config import RegistryConfig
from minikube.registry.node import RegistryNode
from minikube.registry.redis.gateway import RedisGateway
from minikube.registry.redis.types import CommitResult, Write
from minikube.registry.service import DiscoveryService


class SlowStore(RedisGateway):
    """A store that decides on each write after a random time, and refuses one whose record was changed meanwhile."""

    def __init__(self, seed: int) -> None:
        super().__init__("redis://unused", "{minikube}", "node")
        self.node: RegistryNode | None = None
        self.random = random.Random(seed)

    async def commit(self, write: Write) -> CommitResult:
        assert self.node is not None
        catalog = self.node.catalog
        for _ in range(self.random.randrange(4)):
            await trio.lowlevel.checkpoint()
        old = catalog.records.get(write.record.id)
        holder = catalog.ids_by_address.get(write.record.address_key, write.record.id)
        if (old.revision if old else 0) != write.expected or (
            write.kind is ChangeKind.PUT and holder != write.record.id
        ):
            return CommitResult(False, catalog.revision)
        revision = catalog.revision + 1
        result = CommitResult(True, revision, write.incarnation or revision)
        self.node.on_committed(write, result, "")
        for _ in range(self.random.randrange(4)):
            await trio.lowlevel.checkpoint()
        return result

    async def read_revision(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0


class NoChecks:
    """Checks that find nothing."""

    async def wait_first_result(self, id_: str, timeout: float) -> None:
        await trio.lowlevel.checkpoint()

    def renew(self, id_: str) -> None:
        pass


class Connection:
    """A connection of the registry's own user that can always be written to."""

    authenticated = False
    peer = Peer("127.0.0.1", os.geteuid())

    def __init__(self) -> None:
        self.closed = trio.Event()
        self.session = None

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()


IDS = st.sampled_from(["one", "two"])
CALLS = st.one_of(
    st.builds(
        lambda id_, port, tag: ("Register", [{"Name": "job", "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:",
                                              "Tags": [str(tag)]} | ({"Uuid": id_} if id_ else {})]),
        st.one_of(IDS, st.just("")), st.integers(1, 2), st.integers(0, 9),
    ),
    st.builds(lambda id_: ("Deregister", [id_]), IDS),
    st.builds(lambda id_: ("Deregister", [{"Id": id_}]), IDS),
    st.builds(lambda id_, on: ("Maintenance", [id_, on, "why"]), IDS, st.booleans()),
    st.builds(lambda id_, on: ("Maintenance", [{"uuid": id_, "on": on}]), IDS, st.booleans()),
)  # fmt: skip


async def final_state(calls: list[tuple[str, list[Any]]], seed: int, *, pipelined: bool) -> list[tuple[Any, ...]]:
    """Return name, address, state and tags of the instances that are registered after the calls."""
    async with trio.open_nursery() as nursery:
        store = SlowStore(seed)
        store.node = node = RegistryNode("node", store, nursery)
        node.catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
        node.loaded.set()
        config = RegistryConfig()
        access = AccessControl(config, TokenTable("redis://unused", "{minikube}"))
        service = DiscoveryService(node, cast(CheckScheduler, NoChecks()), config, access)
        connection = cast(RpcConnection, Connection())

        async def handle(request: Request) -> None:
            # A call about an instance that is not registered is refused, in both orders.
            with contextlib.suppress(RpcError):
                await service.handle(request, connection)

        requests = [Request(f"Discovery.{method}", params, number) for number, (method, params) in enumerate(calls)]
        async with trio.open_nursery() as tasks:
            for request in requests:
                assert service.handle_sync(request, connection) is None
                if pipelined:
                    tasks.start_soon(handle, request)
                else:
                    await handle(request)
        records = sorted(node.catalog.records.values(), key=lambda record: record.address_key)
        return [(record.address_key, record.instance.state, record.instance.tags) for record in records]


@given(st.lists(CALLS, min_size=2, max_size=8), st.integers(0, 1000))
def test_pipelined_calls_end_as_the_same_calls_one_at_a_time(calls: list[tuple[str, list[Any]]], seed: int) -> None:
    async def both() -> None:
        expected = await final_state(calls, seed, pipelined=False)
        assert await final_state(calls, seed, pipelined=True) == expected

    trio.run(both)


async def test_calls_about_different_instances_do_not_wait_for_each_other() -> None:
    order, connection = CallOrder(), cast(RpcConnection, Connection())
    one, two = Request("Discovery.Renew", ["one"], 1), Request("Discovery.Renew", ["two"], 2)
    again = Request("Discovery.Deregister", ["one"], 3)
    for request in (one, two, again):
        order.add(request, connection)
    assert [order.start(request, connection) for request in (one, two, again)] == [False, False, True]
    with trio.move_on_after(0.01) as waited:
        await order.wait_turn(again, connection)
    assert waited.cancelled_caught, "the first call about the instance has not ended"
    order.end(one, connection)
    with trio.fail_after(1):
        await order.wait_turn(again, connection)


async def test_a_call_that_the_server_dropped_does_not_block_later_ones_for_ever(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    monkeypatch.setattr(module, "UNSTARTED_S", 0.01)
    order, connection = CallOrder(), cast(RpcConnection, Connection())
    dropped, later = Request("Discovery.Renew", ["one"], 1), Request("Discovery.Renew", ["one"], 2)
    order.add(dropped, connection)
    order.add(later, connection)
    with trio.fail_after(1):
        await order.wait_turn(later, connection)


async def test_nothing_is_kept_of_calls_that_have_ended() -> None:
    order, connection = CallOrder(), cast(RpcConnection, Connection())
    for number in range(100):
        params = [{"Name": "job", "Addr": f"127.0.0.1:{number % 3 + 1}", "HealthCheck": "ttl:", "Uuid": f"{number}"}]
        request = Request("Discovery.Register", params, number)
        order.add(request, connection)
        assert not order.start(request, connection)
        order.end(request, connection)
    assert not order._connections


async def test_what_a_closed_connection_left_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PURGE_EVERY", 10)
    order = CallOrder()
    for number in range(100):
        connection = Connection()
        order.add(Request("Discovery.Renew", ["one"], number), cast(RpcConnection, connection))
        connection.closed.set()
    assert len(order._connections) <= 10


@pytest.mark.parametrize(
    ("method", "params", "keys"),
    [
        ("Renew", ["one", "passing"], ("one",)),
        ("Renew", [{"Id": "one"}], ("one",)),
        ("Maintenance", {"UUID": "one", "On": True}, ("one",)),
        ("Register", [{"Name": "job", "Addr": "localhost:80", "Uuid": "one"}], ("one", "job 127.0.0.1:80")),
        ("Register", {"name": "job", "addr": {"ip": "127.0.0.1", "PORT": 80}}, ("job 127.0.0.1:80",)),
        ("Register", [{"Name": "job", "Addr": "nonsense"}], ()),
        ("Register", [{"Name": "job", "Addr": {"IP": 5}}], ()),
        ("Deregister", [None], ()),
        ("Deregister", None, ()),
        ("Get", ["one"], ()),
    ],
)
def test_what_a_call_says_of_its_instance(method: str, params: Any, keys: tuple[str, ...]) -> None:
    assert instance_keys(Request(f"Discovery.{method}", params, 1)) == keys
