"""Replies that are none: whatever Redis, or a program in its place, sends, only redis-py's own errors come out."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError, ResponseError

from minikube.model import Address, CheckState, Instance
from minikube.registry.catalog.records import Epoch, Record
from minikube.registry.redis.codec import Keys
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import RedisConnection, RedisConnector
from minikube.registry.redis.replies import read_batch

KEYS = Keys("{minikube}")
RECORD = Record(Instance("one", "web", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING))
METHODS: dict[str, Callable[[RedisCommands], object]] = {
    "heartbeat": lambda redis: redis.heartbeat("node", 1, with_renewals=True),
    "snapshot": lambda redis: redis.read_snapshot(),
    "restore": lambda redis: redis.restore(Epoch(), Epoch(1, "a"), [RECORD], []),
    "audit": lambda redis: redis.audit("a", [RECORD]),
    "repair": lambda redis: redis.repair("a", 1, RECORD),
    "changes": lambda redis: redis.read_changes(0, 1),
    "foreign key": lambda redis: redis.find_foreign_key(),
    "replicas": lambda redis: redis.required_replicas(),
    "batch": lambda redis: read_batch(redis.pipeline([("GET", "a"), ("GET", "b")])),
}

SCALARS = st.one_of(
    st.none(), st.integers(), st.binary(max_size=9), st.sampled_from([b"ok", b"conflict", b"1-0", b"epoch", b"7"]),
    st.builds(ResponseError, st.text(max_size=5)),
)  # fmt: skip
REPLIES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=9), max_leaves=12)


class Replying:
    """A connection that has these replies, in turn."""

    def __init__(self, replies: list[Any]) -> None:
        self.replies = replies

    def pack_commands(self, commands: Any) -> list[bytes]:
        return []

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        pass

    def read_response(self) -> Any:
        reply = self.replies[0]
        self.replies = [*self.replies[1:], reply]
        if isinstance(reply, Exception):
            raise reply
        return reply


@given(st.sampled_from(sorted(METHODS)), st.lists(REPLIES, min_size=1, max_size=9))
def test_a_reply_of_any_shape_is_an_error_of_redis_or_a_result(method: str, replies: list[Any]) -> None:
    with contextlib.suppress(RedisError):
        METHODS[method](RedisCommands(cast(RedisConnection, Replying(replies)), KEYS))


@pytest.fixture
def hostile() -> Iterator[Callable[[bytes], str]]:
    """A server that sends the same bytes to every client at once; returns its URL."""
    with contextlib.ExitStack() as stack:

        def serve(data: bytes) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)

            def run() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        client, _ = listener.accept()
                        with client:
                            client.sendall(data)
                            client.shutdown(socket.SHUT_WR)
                            while client.recv(65_536):
                                pass

            threading.Thread(target=run, daemon=True).start()
            return f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

        yield serve


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":x\r\n" * 9,
        b"$x\r\n" * 9,
        b"*x\r\n" * 9,
        b"$-5\r\n" * 9,
        b"*1\r\n" * 20_000,
        b"$99999999999999999999\r\nx",
        b"*99999999999\r\n$1\r\nx\r\n",
        b"-\xff\xfe\r\n" * 9,
        b"+OK\r\n" * 20,
        b"*2\r\n$1\r\n\xff\r\n:1\r\n" * 20,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=lambda data: repr(data[:14]),
)
def test_bytes_that_are_no_reply_are_an_error_of_redis(hostile: Callable[[bytes], str], data: bytes) -> None:
    url = hostile(data)
    for method in ("heartbeat", "snapshot", "batch"):
        with contextlib.suppress(RedisError, OSError):
            connection = RedisConnector(url).open(0.5)
            try:
                METHODS[method](RedisCommands(connection, KEYS))
            finally:
                connection.disconnect()
