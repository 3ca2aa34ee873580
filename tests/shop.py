"""The sample shop for tests: an HTTP client that sends exactly what a test says, and a service of this process to send it to."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio

from services.web import Routes, Server


class Answer(NamedTuple):
    """An answer: status, headers (names in lower case), JSON body."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """A connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: str | bytes) -> None:
        await self.stream.send_all(data.encode("latin-1") if isinstance(data, str) else data)

    async def answer(self, method: str = "GET") -> Answer:
        """Return the next answer."""
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
        return Answer(status, headers, json.loads(body) if body else None)

    async def get(self, path: str) -> Answer:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        return await self.answer()

    async def ended(self) -> bool:
        """Return whether the server closes the connection without another byte."""
        return self.buffer == b"" and await self.stream.receive_some(1) == b""

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"closed in the middle of an answer: {self.buffer!r}"
        self.buffer += data


class Service:
    """A server under test, and clients for it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self.clients: list[Client] = []

    async def client(self) -> Client:
        self.clients.append(Client(await trio.open_tcp_stream("127.0.0.1", self.port)))
        return self.clients[-1]

    async def ask(self, method: str, path: str, body: str = "", key: str = "") -> Answer:
        """Send one request on a connection of its own; return the answer."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            client, data = Client(stream), body.encode()
            more = f"Idempotency-Key: {key}\r\n" if key else ""
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(data)}\r\n\r\n"
            await client.send(head.encode() + data)
            return await client.answer(method)


@asynccontextmanager
async def open_service(routes: Routes) -> AsyncIterator[Service]:
    """Serve `routes` while the block runs."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    service = Service(Server(routes), listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.server.run, listeners)
        yield service
        for client in service.clients:
            client.stream.socket.close()
        nursery.cancel_scope.cancel()
