"""The HTTP server on real sockets: the edges of HTTP/1.1, and connections beyond the limit."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from minikube.net.http_messages import HttpLimits, Reply, Request, Response, StreamReply
from minikube.net.http_server import serve_http
from tests.eventually import soon

Address = tuple[str, int]
HEAD = b"Host: localhost\r\n"


class Handler:
    """Answers with the method and the body. `/stream` never ends; the header `X-Trust` makes a client a trusted one."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.streams = 0

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        assert request.client is not None
        request.client.is_trusted = bool(request.header("x-trust"))
        if request.path == "/stream":
            return StreamReply(self.stream)
        return Reply(200, request.method.encode() + b" " + request.body, "text/plain")

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            await trio.sleep_forever()

        self.streams += 1
        try:
            yield chunks()
        finally:
            self.streams -= 1


@asynccontextmanager
async def serving(handler: Handler, **limits: float) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serve = partial(serve_http, handler, listeners, limits=HttpLimits(**limits))  # type: ignore[arg-type]
        yield await nursery.start(serve)
        nursery.cancel_scope.cancel()


async def send(address: Address, *pieces: bytes) -> bytes:
    """Send the pieces one after another, and return everything that is received until the server closes."""
    async with await trio.open_tcp_stream(*address) as stream:
        with suppress(trio.BrokenResourceError):
            for piece in pieces:
                await stream.send_all(piece)
                await trio.sleep(0.005 if len(pieces) > 1 else 0)
            await stream.send_eof()
        with trio.fail_after(30):
            return b"".join([bytes(chunk) async for chunk in stream])


# ---------------------------------------------------------------- edges of the protocol


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (b"Host: localhost\r\n", b"Host"),
        (b"Host: evil.example\r\n", b"Host"),
        (b"Content-Length: 5\r\ncontent-length: 5\r\n", b"content-length"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length"),
        (b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", b"authorization"),
        (b"Authorization: Bearer a\r\nAUTHORIZATION: Bearer a\r\n", b"authorization"),
    ],
)
@pytest.mark.parametrize("by_byte", [False, True])
async def test_a_header_that_may_be_there_once_is_refused_twice(headers: bytes, word: bytes, by_byte: bool) -> None:
    handler = Handler()
    request = b"POST / HTTP/1.1\r\n" + HEAD + headers + b"\r\nhello"
    async with serving(handler) as address:
        answer = await send(address, *([request[i : i + 1] for i in range(len(request))] if by_byte else [request]))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert word.lower() in answer.lower()
        assert handler.requests == []


async def test_a_repeated_header_in_a_body_or_a_following_request_is_not_counted() -> None:
    handler = Handler()
    request = b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 19\r\n\r\nContent-Length: 5\r\n"
    async with serving(handler) as address:
        answer = await send(address, request + request)
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert [request.body for request in handler.requests] == [b"Content-Length: 5\r\n"] * 2


@pytest.mark.parametrize("version", [b"1.0", b"0.9"])
async def test_a_transfer_encoding_of_http_1_0_is_refused(version: bytes) -> None:
    handler = Handler()
    request = b"PUT / HTTP/" + version + b"\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with serving(handler) as address:
        assert (await send(address, request)).startswith(b"HTTP/1.1 400 ")
        assert handler.requests == []


async def test_http_1_1_may_send_chunks_and_http_1_0_a_length() -> None:
    handler = Handler()
    async with serving(handler) as address:
        chunked = b"PUT / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        assert (await send(address, chunked)).endswith(b"PUT hello")
        assert (await send(address, b"PUT / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")).endswith(b"PUT hello")


GET = b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\r\n" + GET + b"\r\n" + GET],
        [b"\r\n\r\n\n" + GET, GET],
        [b"\r", b"\n", b"\r", b"\n" + GET, b"\r\n", GET],
        [POST + b"\r\n" + GET],
        [POST + b"\r", b"\n" + GET],
        [POST + b"\r\n", GET],
    ],
)
async def test_an_empty_line_before_a_request_is_skipped(pieces: list[bytes]) -> None:
    """Some clients send one after a body (RFC 9112 section 2.2)."""
    handler = Handler()
    async with serving(handler) as address:
        assert (await send(address, *pieces)).count(b"HTTP/1.1 200 ") == 2
        assert len(handler.requests) == 2


@pytest.mark.parametrize("start", [b" ", b"\r", b"\r\r\n", b"\0"])
async def test_other_bytes_before_a_request_are_refused(start: bytes) -> None:
    handler = Handler()
    async with serving(handler) as address:
        assert (await send(address, start + GET)).startswith(b"HTTP/1.1 400 ")
        assert handler.requests == []


async def test_empty_lines_do_not_extend_the_time_for_a_request() -> None:
    async with serving(Handler(), request_s=0.3) as address:
        with trio.fail_after(30):
            assert b" 408 " in await send(address, *[b"\r\n"] * 1_000)


# ---------------------------------------------------------------- connections beyond the limit


class Connection:
    """A client that keeps its connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def ask(self, path: str = "/", *, trusted: bool = False) -> bytes:
        trust = b"X-Trust: 1\r\n" if trusted else b""
        await self.stream.send_all(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HEAD + trust + b"\r\n")
        return await self.receive()

    async def receive(self) -> bytes:
        with trio.fail_after(30):
            return bytes(await self.stream.receive_some(65_536))


@asynccontextmanager
async def connect(address: Address) -> AsyncIterator[Connection]:
    async with await trio.open_tcp_stream(*address) as stream:
        yield Connection(stream)


async def test_an_idle_connection_is_closed_for_a_new_one_and_told_why() -> None:
    async with serving(Handler(), connections=2) as address, connect(address) as used:
        await used.ask()
        await used.ask()
        async with connect(address) as silent:
            await trio.testing.wait_all_tasks_blocked(0.02)
            async with connect(address) as third:
                assert b" 200 " in await third.ask()
                told = await silent.receive()
                assert told.startswith(b"HTTP/1.1 503 ")
                assert b"closed to make room: 2 connections are open" in told
                assert await silent.receive() == b""
                assert b" 200 " in await used.ask()


async def test_a_trusted_connection_goes_after_all_others_and_never_while_it_is_busy() -> None:
    handler = Handler()
    async with serving(handler, connections=2) as address, connect(address) as following, connect(address) as idle:
        assert b" 200 " in await following.ask("/stream", trusted=True)
        await idle.ask(trusted=True)
        async with connect(address) as newcomer:
            assert b" 200 " in await newcomer.ask()
            assert (await idle.receive()).startswith(b"HTTP/1.1 503 ")
            async with connect(address) as last:
                assert b" 200 " in await last.ask(trusted=True)
                assert (await newcomer.receive()).startswith(b"HTTP/1.1 503 ")
                assert handler.streams == 1


async def test_a_trusted_connection_goes_after_others_that_are_used_more() -> None:
    async with serving(Handler(), connections=2) as address, connect(address) as trusted, connect(address) as other:
        await trusted.ask(trusted=True)
        for _ in range(3):
            await other.ask()
        async with connect(address) as newcomer:
            assert b" 200 " in await newcomer.ask()
            assert (await other.receive()).startswith(b"HTTP/1.1 503 ")
            assert b" 200 " in await trusted.ask()


async def test_a_newcomer_is_refused_if_every_connection_is_trusted_and_busy() -> None:
    handler = Handler()
    async with serving(handler, connections=1) as address, connect(address) as following:
        await following.ask("/stream", trusted=True)
        assert (await send(address, b"")).startswith(b"HTTP/1.1 503 ")
        assert handler.streams == 1


async def test_a_stream_that_is_not_trusted_is_closed_last() -> None:
    handler = Handler()
    async with serving(handler, connections=2) as address, connect(address) as following, connect(address) as idle:
        await following.ask("/stream")
        await idle.ask()
        async with connect(address) as newcomer:
            assert b" 200 " in await newcomer.ask("/stream", trusted=True)
            assert (await idle.receive()).startswith(b"HTTP/1.1 503 ")
            assert handler.streams == 2
            async with connect(address) as last:
                assert b" 200 " in await last.ask()
                await soon(lambda: handler.streams == 1)


async def test_a_flood_of_connections_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minikube.net.http_server.MAX_REFUSED", 2)
    monkeypatch.setattr("minikube.net.http_server.LINGER_S", 60.0)
    async with serving(Handler(), connections=4) as address, AsyncExitStack() as stack:
        open_files = len(os.listdir("/proc/self/fd"))
        flood = [await stack.enter_async_context(connect(address)) for _ in range(40)]
        await soon(lambda: len(os.listdir("/proc/self/fd")) - open_files <= 40 + 4 + 2)
        for _ in range(5):
            assert (await send(address, GET)).startswith(b"HTTP/1.1 200 ")
        told = [await client.receive() for client in flood[:-4]]
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in told)
