"""The services' HTTP server: bounds, errors as JSON, keep-alive, draining."""

import errno
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from services.messages import HttpError, Reply, Request, Routes, find_route, unavailable
from services.web import Limits, Server
from tests.eventually import soon


async def echo(request: Request, word: str) -> Reply:
    return Reply(200, json.dumps([request.method, word, request.query, request.body.decode()]).encode())


async def crash(_request: Request, _: str) -> Reply:
    raise ZeroDivisionError("a defect")


async def busy(_request: Request, _: str) -> Reply:
    raise unavailable("later", after=3)


async def hang(_request: Request, _: str) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


ROUTES: Routes = {
    "/echo/{}": {"GET": echo, "HEAD": echo, "PUT": echo},
    "/list": {"GET": echo},
    "/crash": {"GET": crash},
    "/busy": {"GET": busy},
    "/hang": {"GET": hang},
}


class Client:
    """A raw connection: what is sent is exactly what the test says."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: str | bytes) -> None:
        await self.stream.send_all(data.encode("latin-1") if isinstance(data, str) else data)

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], object]:
        """The next answer: status, headers (lower case), JSON body."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        length = 0 if method == "HEAD" or status == 100 else int(headers["content-length"])
        while len(self.buffer) < length:
            await self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, headers, json.loads(body) if body else None

    async def get(self, path: str) -> tuple[int, dict[str, str], object]:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        return await self.answer()

    async def ended(self) -> bool:
        return self.buffer == b"" and await self.stream.receive_some(1) == b""

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"closed in the middle of an answer: {self.buffer!r}"
        self.buffer += data


class Shop:
    """A server under test, its log, and clients for it."""

    def __init__(self, limits: Limits) -> None:
        self.logged: list[str] = []
        self.server = Server(ROUTES, limits, log=self.logged.append)
        self.place = ("", 0)
        self.clients: list[Client] = []

    async def client(self) -> Client:
        self.clients.append(Client(await trio.open_tcp_stream(*self.place)))
        return self.clients[-1]


@asynccontextmanager
async def open_shop(**limits: float) -> AsyncIterator[Shop]:
    shop = Shop(Limits(**limits))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        shop.place = (await nursery.start(shop.server.serve, "127.0.0.1", 0))[0]
        yield shop
        for client in shop.clients:
            client.stream.socket.close()
        nursery.cancel_scope.cancel()


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        for word in ("one", "two"):
            status, headers, body = await client.get(f"/echo/{word}?a=1")
            assert (status, body) == (200, ["GET", word, "a=1", ""])
            assert headers["content-type"] == "application/json"
            assert "connection" not in headers
        assert len(shop.server.connections) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        await client.send("".join(f"GET /echo/{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(20)))
        assert [(await client.answer())[2] for _ in range(20)] == [["GET", str(n), "", ""] for n in range(20)]


async def test_a_request_may_come_byte_by_byte() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        for byte in b"PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            await client.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await client.answer())[2] == ["PUT", "x", "", "abc"]


async def test_a_chunked_body_is_read_whole() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        head = "PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await client.answer())[2] == ["PUT", "x", "", "abcde"]


async def test_who_waits_for_100_continue_gets_it() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        await client.send("PUT /echo/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send("z")
        assert (await client.answer())[2] == ["PUT", "x", "", "z"]


async def test_head_has_the_length_and_no_body() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        await client.send("HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await client.answer("HEAD")
        assert (status, body) == (200, None)
        assert int(headers["content-length"]) > 0
        assert (await client.get("/list"))[0] == 200


async def test_an_error_after_head_has_its_body() -> None:
    async with open_shop(read=0.05) as shop:
        for late, status in (("nonsense\r\n\r\n", 400), ("GET /li", 408)):
            client = await shop.client()
            await client.send("HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer("HEAD"))[0] == 200
            await client.send(late)
            got, _, body = await client.answer()
            assert (got, type(body)) == (status, dict)
        assert shop.logged == []


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.EPROTO, errno.ENETDOWN, errno.ECONNABORTED, errno.EMFILE])
async def test_a_connection_that_cannot_be_accepted_ends_nothing(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = socket.socket.accept
    failed: list[int] = []

    def fail_once(self: socket.socket) -> tuple[socket.socket, object]:
        if not failed:
            failed.append(code)
            raise OSError(code, "accepting failed")
        return accept(self)

    async with open_shop() as shop:
        monkeypatch.setattr(socket.socket, "accept", fail_once)
        assert (await (await shop.client()).get("/list"))[0] == 200
        assert failed == [code]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /echo/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("DELETE /list HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET /echo/%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\n folded: y\r\nX: a\0b\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n" + "x" * 0x11000, 413),
        ("GET /list HTTP/1.1\r\nHost: x\r\nX: " + "y" * 70_000, 431),
        ("GET /crash HTTP/1.1\r\nHost: x\r\n\r\n", 500),
        ("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", 503),
    ],
)
async def test_every_error_is_json_with_its_status(request_text: str, status: int) -> None:
    async with open_shop() as shop:
        client = await shop.client()
        await client.send(request_text)
        got, headers, body = await client.answer()
        assert got == status
        assert isinstance(body, dict)
        assert set(body) == {"error"}
        assert body["error"].isprintable()
        assert ("allow" in headers) == (status == 405)
        assert headers.get("retry-after") == ("3" if status == 503 else None)
        assert (await (await shop.client()).get("/list"))[0] == 200, "others notice nothing"


async def test_a_defect_is_logged_and_costs_one_answer_only() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        _, _, body = await client.get("/crash")
        assert "ZeroDivisionError" not in str(body)
        assert "ZeroDivisionError: a defect" in shop.logged[0]
        assert (await client.get("/list"))[0] == 200


async def test_a_slow_request_gets_408_and_an_idle_connection_is_closed_silently() -> None:
    async with open_shop(read=0.05, idle=0.05) as shop:
        slow, silent = await shop.client(), await shop.client()
        await slow.send("GET /li")
        status, headers, _ = await slow.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert await slow.ended()
        assert await silent.ended()


async def test_a_slow_body_gets_408() -> None:
    async with open_shop(read=0.05) as shop:
        client = await shop.client()
        await client.send("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert (await client.answer())[0] == 408


async def test_a_handler_that_hangs_gets_504() -> None:
    async with open_shop(handle=0.05) as shop:
        status, headers, _ = await (await shop.client()).get("/hang")
        assert (status, headers["connection"]) == (504, "close")


async def test_a_reader_that_stopped_reading_is_dropped() -> None:
    async with open_shop(write=0.05, body=4 << 20) as shop:
        client = await shop.client()
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n"
        await client.send(head.encode() + b"x" * (4 << 20))
        await soon(lambda: not shop.server.connections)


async def test_one_connection_too_many_is_told_so() -> None:
    async with open_shop(connections=2) as shop:
        kept = [await shop.client() for _ in range(2)]
        for client in kept:
            assert (await client.get("/list"))[0] == 200
        turned_away = await shop.client()
        status, headers, _ = await turned_away.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert (await kept[0].get("/list"))[0] == 200


async def test_draining_ends_idle_connections_and_finishes_busy_ones() -> None:
    async with open_shop(handle=0.1) as shop:
        idle, working = await shop.client(), await shop.client()
        assert (await idle.get("/list"))[0] == 200
        await working.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await soon(lambda: not all(connection.idle for connection in shop.server.connections))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop.server.drain, 30.0)
            assert await idle.ended()
            assert (await working.answer())[0] == 504
            assert await working.ended()
        with pytest.raises(OSError, match="connect"):
            await shop.client()


async def test_draining_gives_up_after_its_grace() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await soon(lambda: not all(connection.idle for connection in shop.server.connections))
        assert not await shop.server.drain(0.01)


async def test_an_absolute_target_is_served_as_its_path() -> None:
    async with open_shop() as shop:
        client = await shop.client()
        assert (await client.get("http://anything:1/echo/x?q"))[2] == ["GET", "x", "q", ""]


def test_a_route_takes_one_segment_and_names_what_is_allowed() -> None:
    assert find_route(ROUTES, "GET", "/echo/a%20b") == (echo, "a b")
    with pytest.raises(HttpError) as caught:
        find_route(ROUTES, "POST", "/echo/x")
    assert caught.value.reply.status == 405
    assert caught.value.reply.headers == (("allow", "GET, HEAD, PUT"),)
