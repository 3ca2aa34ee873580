"""Calls of one connection about the same instance or name take effect in the order in which they were sent."""

import contextlib
import json
import os
import random
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from minikube.jsonrpc.messages import Request, RpcError
from minikube.model import ChangeKind
from minikube.net.peers import Peer
from minikube.net.rpc.interface import RpcConnection
from minikube.registry import call_order as module
from minikube.registry.access.access_control import AccessControl
from minikube.registry.access.tokens import TokenTable
from minikube.registry.call_order import READ_METHODS, CallOrder, changed_keys
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
    loopback_host = ""
    is_writable = True
    peer = Peer("127.0.0.1", os.geteuid())

    def __init__(self) -> None:
        self.closed = trio.Event()
        self.session = None

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()


IDS = st.sampled_from(["one", "two"])
NAMES = st.sampled_from(["job", "shop"])
CALLS = st.one_of(
    st.builds(
        lambda name, id_, port, tag: ("Register", [{"Name": name, "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:",
                                                    "Tags": [str(tag)]} | ({"Uuid": id_} if id_ else {})]),
        NAMES, st.one_of(IDS, st.just("")), st.integers(1, 2), st.integers(0, 9),
    ),
    st.builds(lambda id_: ("Deregister", [id_]), IDS),
    st.builds(lambda id_: ("Deregister", [{"Id": id_}]), IDS),
    st.builds(lambda id_, on: ("Maintenance", [id_, on, "why"]), IDS, st.booleans()),
    st.builds(lambda id_, on: ("Maintenance", [{"uuid": id_, "on": on}]), IDS, st.booleans()),
    st.builds(lambda name: ("Get", [name]), NAMES),
    st.builds(lambda name: ("Instances", name), st.sampled_from([[], ["job"], ["shop"], [{"Name": "job"}]])),
    st.just(("Services", [])),
    # It does not wait for a change: the revision is of another history.
    st.builds(lambda name: ("Wait", [name, 1_000_000, 0]), NAMES),
)  # fmt: skip


def shown(answer: Any) -> Any:
    """Return what must not depend on the pipelining: of a list its instances without ids and revisions."""
    if isinstance(answer, dict) and "Revision" in answer:
        answer = answer["Instances"]
    if isinstance(answer, bytes):  # a whole line
        line = json.loads(answer)
        assert "stale" not in line, "it has waited for too long"
        answer = Raw(json.dumps(line["result"]).encode())
    if not isinstance(answer, Raw):
        return answer
    found = json.loads(bytes(answer))
    if type(found) is not list:
        return True
    return sorted((one["Name"], one["Addr"]["Port"], one["State"], one["Tags"]) for one in found)


def make_node(store: SlowStore, nursery: trio.Nursery) -> RegistryNode:
    store.node = node = RegistryNode("node", store, nursery)
    node.catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
    node.loaded.set()
    node.is_stale = False
    return node


def make_service(node: RegistryNode) -> DiscoveryService:
    config = RegistryConfig()
    access = AccessControl(config, TokenTable("redis://unused", "{minikube}"))
    return DiscoveryService(node, cast(CheckScheduler, NoChecks()), config, access)


async def run_calls(
    calls: list[tuple[str, list[Any]]], seed: int, *, pipelined: bool
) -> tuple[list[tuple[Any, ...]], dict[int, Any]]:
    """Return address, state and tags of the instances that are registered after the calls, and the answers to the reads."""
    async with trio.open_nursery() as nursery:
        store = SlowStore(seed)
        node = make_node(store, nursery)
        service, connection = make_service(node), cast(RpcConnection, Connection())
        answers: dict[int, Any] = {}

        async def handle(request: Request) -> None:
            for _ in range(store.random.randrange(6)):  # the client does not read
                await trio.lowlevel.checkpoint()
            # A call about an instance that is not registered is refused, in both orders.
            result = None
            with contextlib.suppress(RpcError):
                result = await service.handle(request, connection)
            if request.method in READ_METHODS:
                answers[cast(int, request.id)] = shown(result)
            service.on_ended(request, connection)

        requests = [Request(f"Discovery.{method}", params, number) for number, (method, params) in enumerate(calls)]
        async with trio.open_nursery() as tasks:
            for request in requests:
                if (reply := service.handle_sync(request, connection)) is not None:
                    answers[cast(int, request.id)] = shown(reply)
                elif pipelined:
                    tasks.start_soon(handle, request)
                else:
                    await handle(request)
        records = sorted(node.catalog.records.values(), key=lambda record: record.address_key)
        state = [(record.address_key, record.instance.state, record.instance.tags) for record in records]
        return state, answers


@given(st.lists(CALLS, min_size=2, max_size=8), st.integers(0, 1000), st.sampled_from([1, 2, module.MAX_KEYS]))
def test_pipelined_calls_end_as_the_same_calls_one_at_a_time(
    calls: list[tuple[str, list[Any]]], seed: int, max_keys: int
) -> None:
    async def both() -> None:
        expected = await run_calls(calls, seed, pipelined=False)
        assert await run_calls(calls, seed, pipelined=True) == expected

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_KEYS", max_keys)
        trio.run(both)


async def test_a_notification_is_not_listed_for_while_its_line_is_read() -> None:
    """No limit counts its list."""
    async with trio.open_nursery() as nursery:
        service, connection = make_service(make_node(SlowStore(0), nursery)), cast(RpcConnection, Connection())
        ids = (1, UNSET)
        requests = [Request("Discovery.Instances", ["job"], id_, "2.0") for id_ in ids]
        answers = [service.handle_sync(request, connection) for request in requests]
    assert answers == [b'{"jsonrpc":"2.0","id":1,"result":[]}\n', None]


def order_of(known: dict[str, str] | None = None) -> tuple[CallOrder, RpcConnection]:
    """Return an order for a registry that knows these instances (name by id), and a connection."""
    return CallOrder((known or {}).get), cast(RpcConnection, Connection())


def call(method: str, *params: Any) -> Request:
    return Request(f"Discovery.{method}", list(params), 1)


def registration(id_: str, name: str = "job") -> Request:
    return call("Register", {"Name": name, "Addr": f"{name}:80", "HealthCheck": "ttl:", "Uuid": id_})


async def waits(order: CallOrder, request: Request, connection: RpcConnection) -> bool:
    """Return whether the turn of a call has not come yet."""
    with trio.move_on_after(0.01) as scope:
        if order.must_wait(request, connection):
            await order.wait_turn(request, connection)
    return scope.cancelled_caught


async def test_calls_about_different_instances_do_not_wait_for_each_other() -> None:
    order, connection = order_of()
    one, two, again = call("Renew", "one"), call("Renew", "two"), call("Deregister", "one")
    for request in (one, two, again):
        order.add_change(request, connection)
    assert [order.must_wait(request, connection) for request in (one, two, again)] == [False, False, True]
    assert await waits(order, again, connection), "the first call about the instance has not ended"
    order.end(one, connection)
    assert not await waits(order, again, connection)


@pytest.mark.parametrize(
    ("change", "read", "is_behind"),
    [
        (registration("one"), call("Get", "job"), True),
        (registration("one"), call("Get", {"Name": "job", "Tag": "x"}), True),
        (registration("one"), call("Instances", "job"), True),
        (registration("one"), call("Instances"), True),
        (registration("one"), call("Services", {}), True),
        (registration("one"), call("Watch", "*"), True),
        (registration("one"), call("Wait", {"name": "job"}), True),
        (registration("one"), call("Get", "other"), False),
        (registration("one"), call("Watch", "other"), False),
        (registration("one"), call("Get", 5), False),
        (registration("known"), call("Get", "shop"), True),  # the id moves from one name to another
        (call("Deregister", "known"), call("Get", "shop"), True),
        (call("Renew", "known", "critical"), call("Wait", "shop"), True),
        (call("Maintenance", {"Uuid": "known", "On": True}), call("Get", "shop"), True),
        (call("Deregister", "known"), call("Get", "job"), False),
        (call("Deregister", "elsewhere"), call("Get", "job"), True),  # another registry may know its name
    ],
)
async def test_a_read_waits_for_the_changes_of_its_name(change: Request, read: Request, is_behind: bool) -> None:
    order, connection = order_of({"known": "shop"})
    order.add_change(change, connection)
    assert order.add_read(read, connection) == is_behind
    assert await waits(order, read, connection) == is_behind
    order.end(change, connection)
    assert not await waits(order, read, connection)
    order.end(read, connection)
    assert not order._connections
    assert not order.changing


async def test_a_read_waits_for_no_change_of_another_connection() -> None:
    order, connection = order_of()
    order.add_change(registration("one"), connection)
    assert not order.add_read(call("Get", "job"), cast(RpcConnection, Connection()))


async def test_a_change_waits_for_the_reads_of_its_name_before_it() -> None:
    """Else a lookup could miss an instance that is deregistered only behind it."""
    order, connection = order_of()
    first, second, read, last = registration("one"), registration("two"), call("Get", "job"), call("Deregister", "one")
    order.add_change(first, connection)
    order.add_change(second, connection)
    assert order.add_read(read, connection)
    order.add_change(last, connection)
    order.end(first, connection)
    assert await waits(order, last, connection)
    assert await waits(order, read, connection), "the second registration is under way"
    order.end(second, connection)
    assert not await waits(order, read, connection)
    assert await waits(order, last, connection)
    order.end(read, connection)
    assert not await waits(order, last, connection)


async def test_a_read_of_all_names_waits_for_no_change_behind_it() -> None:
    order, connection = order_of()
    first, read, last = registration("one"), call("Instances"), registration("two")
    order.add_change(first, connection)
    assert order.add_read(read, connection)
    order.add_change(last, connection)
    order.end(first, connection)
    assert await waits(order, last, connection)
    assert not await waits(order, read, connection)
    order.end(read, connection)
    assert not await waits(order, last, connection)


async def test_a_read_of_all_names_waits_for_the_changes_that_another_read_waits_for() -> None:
    order, connection = order_of()
    change, lookup, services = registration("one"), call("Get", "job"), call("Services")
    order.add_change(change, connection)
    assert order.add_read(lookup, connection)
    assert order.add_read(services, connection)
    assert await waits(order, services, connection)
    order.end(change, connection)
    assert not await waits(order, services, connection)


async def test_a_change_waits_for_no_read_of_all_names_behind_it() -> None:
    order, connection = order_of()
    first, change, last = call("Services"), registration("one"), call("Services")
    assert order.add_read(first, connection, always=True)
    order.add_change(change, connection)
    assert order.add_read(last, connection, always=True)
    order.end(first, connection)
    assert await waits(order, last, connection)
    assert not await waits(order, change, connection)


async def test_a_read_waits_a_second_at_most(autojump_clock: trio.abc.Clock) -> None:
    order, connection = order_of()
    order.add_change(registration("one"), connection)
    read = call("Get", "job")
    assert order.add_read(read, connection)
    began = trio.current_time()
    with trio.fail_after(60):
        assert not await order.wait_turn(read, connection)
    assert trio.current_time() - began == module.READ_WAIT_S


async def test_a_call_that_was_dropped_lets_later_ones_wait_for_the_earlier_ones_only() -> None:
    order, connection = order_of()
    first, dropped, later, read = (
        registration("one"),
        call("Renew", "one", "x"),
        call("Renew", "one", "x"),
        call("Get", "job"),
    )
    for request in (first, dropped):
        order.add_change(request, connection)
    order.end(dropped, connection)
    order.add_change(later, connection)
    assert await waits(order, later, connection)
    order.end(first, connection)
    assert not await waits(order, later, connection)
    order.end(later, connection)
    assert not order.add_read(read, connection)
    assert not order._connections


@pytest.mark.parametrize("text", [" *", " ?", "*", "?", " job", "job"])
async def test_no_name_or_id_makes_a_call_wait_for_itself(text: str) -> None:
    """Also not a wrong one, which the call refuses."""
    order, connection = order_of()
    for request in (
        registration(text, text),
        call("Renew", text),
        call("Deregister", {"Id": text, "Uuid": f" {text}"}),
    ):
        order.add_change(request, connection)
        assert not await waits(order, request, connection)
        order.end(request, connection)
    for request in (call("Get", text), call("Instances", text)):
        assert order.add_read(request, connection, always=True)
        assert not await waits(order, request, connection)
        order.end(request, connection)
    assert not order._connections


async def test_the_places_of_many_calls_about_one_id_take_little_memory() -> None:
    """Each of them may concern what all before it do; they still take effect one after the other."""
    order, connection = order_of()
    addresses = [{"Name": f"job-{n}", "Addr": f"h:{n}", "HealthCheck": "ttl:", "Uuid": "one"} for n in range(1, 200)]
    calls = [call("Register", given) for given in addresses]
    for request in calls:
        order.add_change(request, connection)
    groups = [len(place.groups) for place in order._connections[connection].by_request.values()]
    assert max(groups) <= 2 * module.MAX_KEYS + 4
    first, other = call("Register", {**addresses[0], "Uuid": ""}), registration("two")
    for request in (first, other):
        order.add_change(request, connection)
    assert order.has_calls("one", connection)
    for request in calls[:-1]:
        order.end(request, connection)
    assert await waits(order, first, connection)
    assert order.add_read(call("Get", "elsewhere"), connection), "behind so many, any name may be concerned"
    order.end(calls[-1], connection)
    assert not await waits(order, first, connection)
    assert await waits(order, other, connection), "behind so many, it cannot be known to concern another instance"
    order.end(first, connection)
    assert not await waits(order, other, connection)


async def test_nothing_is_kept_of_a_call_that_ended_before_those_before_it() -> None:
    order, connection = order_of()
    first, dropped, elsewhere = registration("one"), call("Renew", "one"), registration("two", "shop")
    for request in (first, dropped, elsewhere):
        order.add_change(request, connection)
    order.end(dropped, connection)
    assert order.has_calls("one", connection)
    order.end(first, connection)
    assert not order.has_calls("one", connection)
    assert not order.add_read(call("Get", "job"), connection)
    assert set(order._connections[connection].newest) == {"two", "shop shop:80", " shop"}


async def test_nothing_is_kept_of_calls_that_have_ended() -> None:
    order, connection = order_of()
    for number in range(100):
        params = {"Name": "job", "Addr": f"127.0.0.1:{number % 3 + 1}", "HealthCheck": "ttl:", "Uuid": f"{number}"}
        request, read = call("Register", params), call("Instances", "job")
        order.add_change(request, connection)
        assert not order.must_wait(request, connection)
        assert order.add_read(read, connection, always=True)
        order.end(request, connection)
        order.end(read, connection)
    assert not order._connections


@pytest.mark.parametrize(
    ("method", "params", "keys", "name"),
    [
        ("Renew", ["one", "passing"], ("one",), ""),
        ("Renew", [{"Id": "one"}], ("one",), ""),
        ("Maintenance", {"UUID": "one", "On": True}, ("one",), ""),
        ("Register", [{"Name": "job", "Addr": "localhost:80", "Uuid": "one"}], ("one", "job 127.0.0.1:80"), "job"),
        ("Register", {"name": "job", "addr": {"ip": "127.0.0.1", "PORT": 80}}, ("job 127.0.0.1:80",), "job"),
        ("Register", [{"Name": "job", "Addr": "nonsense"}], (), "job"),
        ("Register", [{"Name": "job", "Addr": {"IP": 5}}], (), "job"),
        ("Register", [{"Name": "job", "Addr": {"IP": "127.0.0.1", "Port": True}}], (), "job"),
        ("Register", [{"Name": 5, "Uuid": "one"}], ("one",), ""),
        ("Deregister", [None], (), ""),
        ("Deregister", None, (), ""),
    ],
)
def test_what_a_call_says_of_the_instance_that_it_changes(
    method: str, params: Any, keys: tuple[str, ...], name: str
) -> None:
    assert changed_keys(Request(f"Discovery.{method}", params, 1)) == (keys, name)
