"""The fast path for lookups: it matches only lookups, and replies with the same bytes as the slow path."""

import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from minikube.jsonrpc.fast_get import FastGetMatcher, format_replies, format_reply
from minikube.jsonrpc.messages import Request, decode_request, splice_reply
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.net.rpc.connection import ServerConnection
from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.limits import RpcLimits
from minikube.registry import service
from minikube.registry.access.access_control import AccessControl
from minikube.registry.access.tokens import TokenTable
from minikube.registry.catalog.catalog import Catalog
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.config import RegistryConfig
from minikube.registry.service import DiscoveryService

MATCHER = FastGetMatcher("Discovery.Get")
LOOKUP = b'{"method":"Discovery.Get","params":["product"],"id":1}\n'

words = st.sampled_from(
    [b"product", b"order", b"orders", b"nobody", b"a" * 63, b"a" * 64, b"A", b"\\u0061", b"\xc3\xa9", b""]
)
ids = st.integers(0, 10**20).map(b"%d".__mod__) | st.sampled_from(
    [b"00", b"-0", b"-1", b"1.0", b"1e3", b'"1"', b"null", b"true"]
)
lines = st.builds(b'{"method":"Discovery.Get","params":["%b"],"id":%b}\n'.__mod__, st.tuples(words, ids))
lookup_lines = st.builds(
    b'{"method":"Discovery.Get","params":["%b"],"id":%d}\n'.__mod__,
    st.tuples(st.sampled_from([b"product", b"order", b"orders"]), st.integers(0, 10**18 - 1)),
)
other_lines = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"x" + LOOKUP,
        b" " + LOOKUP,
        LOOKUP[:-1] + b"\r\n",
        LOOKUP[:-1],
        LOOKUP[:-1] + b" \n",
        LOOKUP[:-2] + b',"id":2}\n',
        LOOKUP[:-2] + b',"jsonrpc":"2.0"}\n',
        LOOKUP.replace(b"Get", b"Get2"),
        LOOKUP.replace(b"Discovery.", b"DiscoveryX"),
        LOOKUP.replace(b'"]', b'","x"]'),
        LOOKUP.replace(b":1", b": 1"),
        b'{"jsonrpc":"2.0","method":"Discovery.Get","params":["product"],"id":1}\n',
    ]
)
receives = st.lists(lookup_lines, max_size=8) | st.lists(lookup_lines | lines | other_lines, max_size=8)


@given(receives.map(b"".join))
def test_the_matcher_finds_what_decoding_finds(data: bytes) -> None:
    found = MATCHER.match_all(data)
    if found is None:
        return
    names, numbers = found
    decoded = [decode_request(line) for line in data.split(b"\n")[:-1]]
    assert [
        Request("Discovery.Get", [name.decode()], int(number)) for name, number in zip(names, numbers, strict=True)
    ] == decoded
    results = [b'"%d"' % place for place in range(len(names))]
    expected = [splice_reply(cast(Request, one), result) for one, result in zip(decoded, results, strict=True)]
    assert format_replies(numbers, results) == b"".join(expected)


@given(lookup_lines | lines | other_lines | receives.map(b"".join))
def test_match_one_agrees_with_match_all(data: bytes) -> None:
    one, many = MATCHER.match_one(data), MATCHER.match_all(data)
    assert (one is not None) == (many is not None and len(many[0]) == 1)
    if one and many:
        assert one == (many[0][0], many[1][0])
        assert format_reply(one[1], b"{}") == format_replies(many[1], [b"{}"])


@given(st.lists(lookup_lines, min_size=1, max_size=8))
def test_every_receive_of_normal_lookups_is_matched(sent: list[bytes]) -> None:
    found = MATCHER.match_all(b"".join(sent))
    assert found is not None
    assert len(found[0]) == len(sent)


@pytest.mark.parametrize(
    "data", [b"", b"\n", LOOKUP + b"\n", LOOKUP + b"x\n", b"x\n" + LOOKUP, LOOKUP[:-1], LOOKUP + LOOKUP[:-1]]
)
def test_a_receive_with_anything_else_is_not_matched(data: bytes) -> None:
    assert MATCHER.match_all(data) is None


# ---------------------------------------------------------------- the registry's use of it


class FakeServer:
    """A server context that counts the tasks that are started."""

    clients = 1
    waiting_calls = slow_connections = 0

    def __init__(self) -> None:
        self.started = 0

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self.started += 1

    def schedule_update(self, connection: RpcConnection) -> None:
        raise AssertionError("nothing is sent but answers")


class SlowPath(DiscoveryService):
    """A service without the fast path."""

    def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
        return None


def connect(
    methods: type[DiscoveryService], token: str = "", *, stale: bool = False
) -> tuple[ServerConnection, FakeServer, DiscoveryService]:
    """Return a connection to a registry with two products, an order, and a failing instance named `orders`."""
    catalog = Catalog()
    catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
    states = [("product", CheckState.PASSING)] * 2 + [("order", CheckState.PASSING), ("orders", CheckState.CRITICAL)]
    for number, (name, state) in enumerate(states, 1):
        instance = Instance(f"{number:08x}", name, Address("127.0.0.1", number), "ttl:", state, revision=number)
        catalog.apply(Entry(number, ChangeKind.PUT, Record(instance)))
    server = FakeServer()
    loaded = trio.Event()
    loaded.set()
    node = cast(Any, SimpleNamespace(catalog=catalog, is_stale=stale, loaded=loaded))
    config = RegistryConfig(token=token)
    access = AccessControl(config, TokenTable("redis://unused", "{minikube}"))
    discovery = methods(node, cast(Any, None), config, access)
    return ServerConnection(discovery, server, RpcLimits(), "test"), server, discovery


@given(st.lists(receives.map(b"".join), max_size=3), st.booleans(), st.booleans())
def test_the_registry_sends_the_same_bytes_with_and_without_the_fast_path(
    pieces: list[bytes], cut: bool, stale: bool
) -> None:
    (fast, fast_server, _), (slow, slow_server, _) = (
        connect(DiscoveryService, stale=stale),
        connect(SlowPath, stale=stale),
    )
    for piece in [b"".join(pieces)[:-7], b"".join(pieces)[-7:]] if cut else pieces:
        fast.feed(piece)
        slow.feed(piece)
        assert fast.take_output() == slow.take_output()
        assert (fast_server.started, fast.unsent, fast.is_idle) == (slow_server.started, slow.unsent, slow.is_idle)


def test_the_fast_path_counts_its_calls_and_needs_the_token() -> None:
    connection, _, discovery = connect(DiscoveryService)
    answer = discovery.try_fast(LOOKUP * 3, connection)
    ports = [b'{"id":1,"result":{"IP":"127.0.0.1","Port":%d,"Zone":""},"error":null}\n' % port for port in (1, 2, 1)]
    assert answer == b"".join(ports)
    (counted, *_) = discovery._calls.view
    assert (counted.method, counted.results) == ("Discovery.Get", {"ok": 3})
    assert discovery.try_fast(LOOKUP * 3 + LOOKUP.replace(b"product", b"nobody"), connection) is None
    assert discovery.try_fast(LOOKUP, connection) == ports[1], "no turn was taken by what was left alone"
    connection, _, discovery = connect(DiscoveryService, token="secret")
    assert discovery.try_fast(LOOKUP * 3, connection) is None
    connection.authenticated = True
    assert discovery.try_fast(LOOKUP * 3, connection) is not None


def test_the_fast_path_is_left_while_a_change_of_the_same_connection_is_under_way() -> None:
    connection, server, discovery = connect(DiscoveryService)
    other = ServerConnection(discovery, server, RpcLimits(), "other")
    change = Request("Discovery.Deregister", ["00000001"], 5)
    assert discovery.handle_sync(change, connection) is None
    assert discovery.try_fast(LOOKUP, connection) is None
    assert discovery.try_fast(LOOKUP, other) is not None
    connection.feed(LOOKUP)
    assert (server.started, connection.unsent) == (1, 0), "the lookup waits for its turn"
    connection.feed(LOOKUP.replace(b"product", b"order"))
    assert b'"Port":3' in connection.take_output(), "a change of another name does not concern it"
    discovery.on_ended(change, connection)
    assert discovery.try_fast(LOOKUP, connection) is not None


def test_a_short_list_is_answered_without_a_task_and_a_long_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, server, _ = connect(DiscoveryService)
    line = b'{"method":"Discovery.Instances","params":["product"],"id":1}\n'
    connection.feed(line)
    assert server.started == 0
    assert [one["Name"] for one in json.loads(connection.take_output())["result"]] == ["product"] * 2
    monkeypatch.setattr(service, "MAX_SHORT_LIST", 1)
    connection.feed(line)
    connection.feed(line.replace(b'"product"', b""))
    assert (server.started, connection.take_output()) == (2, b"")
