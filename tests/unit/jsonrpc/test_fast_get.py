"""The shortcut for lookups: it takes only what has one meaning, and answers with the bytes of the long way."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.jsonrpc.fast_get import PlainCalls, join_replies, one_reply
from minikube.jsonrpc.messages import Request, decode_requests, splice_reply
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.net.rpc.connection import RpcConnection
from minikube.net.rpc.types import Limits
from minikube.registry.catalog.catalog import Catalog
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.config import RegistryConfig
from minikube.registry.service import DiscoveryService

GETS = PlainCalls("Discovery.Get")
PLAIN = b'{"method":"Discovery.Get","params":["product"],"id":1}\n'

words = st.sampled_from(
    [b"product", b"order", b"orders", b"nobody", b"a" * 63, b"a" * 64, b"A", b"\\u0061", b"\xc3\xa9", b""]
)
ids = st.integers(0, 10**20).map(b"%d".__mod__) | st.sampled_from(
    [b"00", b"-0", b"-1", b"1.0", b"1e3", b'"1"', b"null", b"true"]
)
lines = st.builds(b'{"method":"Discovery.Get","params":["%b"],"id":%b}\n'.__mod__, st.tuples(words, ids))
plain_lines = st.builds(
    b'{"method":"Discovery.Get","params":["%b"],"id":%d}\n'.__mod__,
    st.tuples(st.sampled_from([b"product", b"order", b"orders"]), st.integers(0, 10**18 - 1)),
)
odd_lines = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"x" + PLAIN,
        b" " + PLAIN,
        PLAIN[:-1] + b"\r\n",
        PLAIN[:-1],
        PLAIN[:-1] + b" \n",
        PLAIN[:-2] + b',"id":2}\n',
        PLAIN[:-2] + b',"jsonrpc":"2.0"}\n',
        PLAIN.replace(b"Get", b"Get2"),
        PLAIN.replace(b"Discovery.", b"DiscoveryX"),
        PLAIN.replace(b'"]', b'","x"]'),
        PLAIN.replace(b":1", b": 1"),
        b'{"jsonrpc":"2.0","method":"Discovery.Get","params":["product"],"id":1}\n',
    ]
)
receives = st.lists(plain_lines, max_size=8) | st.lists(plain_lines | lines | odd_lines, max_size=8)


@given(receives.map(b"".join))
def test_what_is_found_is_what_decoding_finds(data: bytes) -> None:
    found = GETS.find(data)
    if found is None:
        return
    names, numbers = found
    decoded = decode_requests(data.split(b"\n")[:-1])
    assert [
        Request("Discovery.Get", [name.decode()], int(number)) for name, number in zip(names, numbers, strict=True)
    ] == decoded
    results = [b'"%d"' % place for place in range(len(names))]
    long_way = [splice_reply(cast(Request, one), result) for one, result in zip(decoded, results, strict=True)]
    assert join_replies(numbers, results) == b"".join(long_way)


@given(plain_lines | lines | odd_lines | receives.map(b"".join))
def test_one_call_is_found_where_all_that_is_found_is_one(data: bytes) -> None:
    one, many = GETS.find_one(data), GETS.find(data)
    assert (one is not None) == (many is not None and len(many[0]) == 1)
    if one and many:
        assert one == (many[0][0], many[1][0])
        assert one_reply(one[1], b"{}") == join_replies(many[1], [b"{}"])


@given(st.lists(plain_lines, min_size=1, max_size=8))
def test_nothing_plain_is_missed(sent: list[bytes]) -> None:
    found = GETS.find(b"".join(sent))
    assert found is not None
    assert len(found[0]) == len(sent)


@pytest.mark.parametrize(
    "data", [b"", b"\n", PLAIN + b"\n", PLAIN + b"x\n", b"x\n" + PLAIN, PLAIN[:-1], PLAIN + PLAIN[:-1]]
)
def test_a_receive_that_is_not_all_of_it_is_left_alone(data: bytes) -> None:
    assert GETS.find(data) is None


# ---------------------------------------------------------------- the registry's use of it


class Host:
    """Counts what could not be answered at once."""

    clients = 1
    waiting = lagging = 0

    def __init__(self) -> None:
        self.started = 0

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self.started += 1

    def touch(self, peer: RpcConnection) -> None:
        raise AssertionError("nothing is sent but answers")


class LongWay(DiscoveryService):
    """Decodes everything."""

    def at_once(self, data: bytes, peer: RpcConnection) -> bytes | None:
        return None


def connect(
    methods: type[DiscoveryService], token: str = "", *, stale: bool = False
) -> tuple[RpcConnection, Host, DiscoveryService]:
    """A connection to a registry that knows two products, an order, and an order's like that does not pass."""
    catalog = Catalog()
    catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
    states = [("product", CheckState.PASSING)] * 2 + [("order", CheckState.PASSING), ("orders", CheckState.CRITICAL)]
    for number, (name, state) in enumerate(states, 1):
        instance = Instance(f"{number:08x}", name, Address("127.0.0.1", number), "ttl:", state, revision=number)
        catalog.apply(Entry(number, ChangeKind.PUT, Record(instance)))
    host = Host()
    node = cast(Any, SimpleNamespace(catalog=catalog, is_stale=stale))
    discovery = methods(node, cast(Any, None), RegistryConfig(token=token))
    return RpcConnection(discovery, host, Limits(), "test"), host, discovery


@given(st.lists(receives.map(b"".join), max_size=3), st.booleans(), st.booleans())
def test_the_registry_answers_the_same_bytes_either_way(pieces: list[bytes], cut: bool, stale: bool) -> None:
    (short, short_host, _), (long, long_host, _) = connect(DiscoveryService, stale=stale), connect(LongWay, stale=stale)
    for piece in [b"".join(pieces)[:-7], b"".join(pieces)[-7:]] if cut else pieces:
        short.feed(piece)
        long.feed(piece)
        assert short.take_output() == long.take_output()
        assert (short_host.started, short.unsent, short.is_idle) == (long_host.started, long.unsent, long.is_idle)


def test_the_shortcut_is_taken_counts_and_wants_the_token() -> None:
    peer, _, discovery = connect(DiscoveryService)
    answer = discovery.at_once(PLAIN * 3, peer)
    ports = [b'{"id":1,"result":{"IP":"127.0.0.1","Port":%d,"Zone":""},"error":null}\n' % port for port in (1, 2, 1)]
    assert answer == b"".join(ports)
    (counted, *_) = discovery._calls.view
    assert (counted.method, counted.results) == ("Discovery.Get", {"ok": 3})
    assert discovery.at_once(PLAIN * 3 + PLAIN.replace(b"product", b"nobody"), peer) is None
    assert discovery.at_once(PLAIN, peer) == ports[1], "no turn was taken by what was left alone"
    peer, _, discovery = connect(DiscoveryService, token="secret")
    assert discovery.at_once(PLAIN * 3, peer) is None
    peer.authenticated = True
    assert discovery.at_once(PLAIN * 3, peer) is not None
