"""An RPC server with a sample service on a free port, and clients that send any bytes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.messages import Request, RpcError, encode_reply, splice_reply
from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.server import serve_rpc


class SampleService:
    """A service whose methods reply at once, wait, or fail."""

    notifying_methods = frozenset({"watch"})

    def __init__(self) -> None:
        self.connections: list[RpcConnection] = []
        self.gates: dict[str, trio.Event] = {}
        self.running = 0
        self.most = 0
        self.ended = trio.Event()
        self.counted = 0

    def on_ended(self, request: Request, connection: RpcConnection) -> None:
        pass

    def on_handled(self, count: int, seconds: float) -> None:
        assert seconds >= 0
        self.counted += count

    def gate(self, name: str) -> trio.Event:
        return self.gates.setdefault(name, trio.Event())

    def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
        return None

    def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
        match request.method:
            case "ready":
                return splice_reply(request, b'"ready"')
            case "big":
                return splice_reply(request, b'"' + b"x" * 100_000 + b'"')
            case "broken.now":
                raise RuntimeError("a secret")
            case "missing.now":
                raise NotFound("no such thing")
            case "watch":
                self.connections.append(connection)
                connection.notify("first", [1])
                return encode_reply(request, "snapshot")
            case "clients":
                return encode_reply(request, connection.clients)
        return None

    async def handle(self, request: Request, connection: RpcConnection) -> Any:
        args = request.params if isinstance(request.params, list) else []
        match request.method:
            case "echo":
                return args
            case "wait":
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    await self.gate(args[0]).wait()
                finally:
                    self.running -= 1
                return args[0]
            case "open":
                self.gate(args[0]).set()
                return True
            case "unencodable":
                return object()
            case "raise":
                raise ERRORS[args[0]]
            case "task":
                connection.start_soon(self.task, args[0])
                return True
        raise RpcError(-32601, f"no method {request.method}")

    async def task(self, what: str) -> None:
        try:
            if what == "fail":
                raise RuntimeError("in a task")
            await trio.sleep_forever()
        finally:
            self.ended.set()


ERRORS: dict[str, Exception] = {
    "rpc": RpcError(-1, "own", {"a": 1}),
    "remote": RemoteError(-2, "theirs"),
    "missing": NotFound("not there"),
    "away": Unavailable("away"),
    "usage": UsageError("wrong"),
    "ours": MinikubeError("ours"),
    "bug": RuntimeError("a secret"),
}


@asynccontextmanager
async def serving(service: SampleService, **options: Any) -> AsyncIterator[tuple[str, int]]:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(partial(serve_rpc, service, ("127.0.0.1", 0), **options))
        yield address
        nursery.cancel_scope.cancel()


class Raw:
    """A client that sends any bytes and reads lines."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, *lines: str | bytes) -> None:
        encoded = [line.encode() if isinstance(line, str) else line for line in lines]
        await self.stream.send_all(b"".join(line + b"\n" for line in encoded))

    async def line(self) -> Any:
        with trio.fail_after(30):
            while b"\n" not in self.buffer:
                data = await self.stream.receive_some(65_536)
                if not data:
                    raise EOFError
                self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    async def ends(self) -> bool:
        """Read until the connection ends, and return True."""
        with trio.fail_after(30):
            try:
                async for _ in self.stream:
                    pass
            except trio.BrokenResourceError:
                pass
        return True

    async def ended(self) -> bool:
        with trio.fail_after(30):
            try:
                return await self.stream.receive_some(1) == b""
            except trio.BrokenResourceError:
                return True


@asynccontextmanager
async def raw(address: tuple[str, int]) -> AsyncIterator[Raw]:
    async with await trio.open_tcp_stream(*address) as stream:
        yield Raw(stream)


def call_line(method: str, id_: Any = 1, *params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id_})
