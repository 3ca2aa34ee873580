"""A connection of the RPC server without a socket: what it executes and sends for any bytes in any pieces."""

import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from minikube.jsonrpc.messages import Request, splice_reply
from minikube.net.rpc.connection import ServerConnection
from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.limits import RpcLimits


class Server:
    """A `ServerContext` without tasks: the service replies to everything at once."""

    clients = 1
    waiting_calls = slow_connections = 0

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        raise AssertionError("no call waits")

    def schedule_update(self, connection: RpcConnection) -> None:
        pass


class Recorder:
    """An `RpcService` that records the ids of the calls that it executes."""

    notifying_methods: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.executed: list[Any] = []

    def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
        return None

    def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
        self.executed.append(request.id)
        return splice_reply(request, b"true")

    async def handle(self, request: Request, connection: RpcConnection) -> Any:
        raise AssertionError("no call waits")

    def on_ended(self, request: Request, connection: RpcConnection) -> None:
        pass

    def on_handled(self, count: int, seconds: float) -> None:
        pass


def exchange(pieces: list[bytes]) -> tuple[list[Any], bytes, bool]:
    """Return what a new connection executes and sends for the pieces and the end, and whether it ends itself."""
    service = Recorder()
    connection = ServerConnection(service, Server(), RpcLimits(), "127.0.0.1:1")
    for piece in pieces:
        connection.feed(piece)
    connection.feed_end()
    return service.executed, connection.take_output(), bool(connection.end_reason)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


calls = st.integers(0, 999).map(lambda id_: b'{"method":"a","id":%d}' % id_)
requests = st.sampled_from([b"", b"\r", b" ", b"\t \r", b"7", b"[]", b'{"id":1}', b" [ ] "])
not_json = st.sampled_from(
    [b"POST / HTTP/1.1\r", b"Host: x", b"\x16\x03\x01", b"{", b'{"method":"a"', b"\xff", b"tru", b'{"a":NaN}']
)
lines = st.lists(calls | requests | not_json, max_size=8)
places = st.lists(st.integers(0, 1_000), max_size=12)


@given(lines, places)
@example([b"POST / HTTP/1.1\r", b"\r", b'{"method":"a","id":1}'], list(range(50)))
def test_only_what_stands_before_the_first_line_that_is_not_json_is_executed(
    sent: list[bytes], places: list[int]
) -> None:
    good: list[bytes] = []
    for line in sent:
        if line.strip():  # a line of white space is an empty line
            try:
                json.loads(line.decode(), parse_constant=lambda _: 1 / 0)
            except (ValueError, ZeroDivisionError):
                break
        good.append(line)
    executed, output, ended = exchange(cut(b"".join(line + b"\n" for line in sent), places))
    assert executed == [json.loads(line)["id"] for line in good if b'"method"' in line]
    errors = [reply for reply in map(json.loads, output.splitlines()) if isinstance(reply.get("error"), dict)]
    assert [error["error"]["code"] for error in errors].count(-32700) == (len(good) < len(sent))
    assert ended == (len(good) < len(sent))


@given(lines, places)
def test_replies_do_not_depend_on_the_pieces(sent: list[bytes], places: list[int]) -> None:
    data = b"\n".join(sent)
    assert exchange(cut(data, places)) == exchange([data])


@given(lines)
def test_the_end_of_the_stream_ends_the_last_line(sent: list[bytes]) -> None:
    data = b"\n".join(sent)
    assert exchange([data]) == exchange([data + b"\n"])


class Waiting(Recorder):
    """A service whose calls all wait, with large answers; it records which have ended."""

    notifying_methods = frozenset({"b"})

    def __init__(self) -> None:
        super().__init__()
        self.ended: set[Any] = set()

    def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
        return None

    async def handle(self, request: Request, connection: RpcConnection) -> Any:
        self.executed.append(request.id)
        await trio.sleep(request.params[0])  # type: ignore[index]
        return "x" * 600

    def on_ended(self, request: Request, connection: RpcConnection) -> None:
        self.ended.add(request.id)


class TaskServer(Server):
    """A `ServerContext` that runs tasks in a nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self.nursery.start_soon(function, *args)


def waiting_calls(count: int, seconds: float) -> list[dict[str, Any]]:
    return [{"jsonrpc": "2.0", "method": "a", "params": [seconds], "id": id_} for id_ in range(count)]


@pytest.mark.parametrize("is_batch", [True, False])
@pytest.mark.parametrize("is_writable", [True, False])
async def test_the_service_hears_of_the_end_of_each_call_of_a_closed_connection(
    is_batch: bool, is_writable: bool
) -> None:
    """Also of those that were cancelled before they were handled, as the client does not read."""
    service, calls = Waiting(), waiting_calls(20, 60)
    async with trio.open_nursery() as nursery:
        limits = RpcLimits() if is_writable else RpcLimits(unsent=-1)
        connection = ServerConnection(service, TaskServer(nursery), limits, "127.0.0.1:1")
        lines = [calls] if is_batch else calls
        connection.feed(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.executed) == (20 if is_writable else 0)
        assert not service.ended
        connection.on_closed()
    # The other lines are not handled before the first reply is sent.
    assert service.ended == set(range(20 if is_writable or is_batch else 1))


async def test_the_service_hears_of_the_end_of_the_calls_that_a_refused_batch_drops() -> None:
    service, calls = Waiting(), waiting_calls(6, 0)
    for late in calls[3:]:  # one after another, and the first of them is too much
        late["method"] = "b"
    async with trio.open_nursery() as nursery:
        connection = ServerConnection(service, TaskServer(nursery), RpcLimits(backlog=2_000), "127.0.0.1:1")
        connection.feed(json.dumps(calls).encode() + b"\n")
    assert b"-32000" in connection.take_output()
    assert len(service.executed) == 4
    assert service.ended == set(range(6))
