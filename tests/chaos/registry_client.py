"""A client of the registry that does nothing by itself: one connection, one call at a time, every error raised."""

import json
from typing import Any

import trio

from tests.chaos.project import REGISTRY_PORT

RECEIVE_BYTES = 65_536
NOT_FOUND = -32004


class Refused(Exception):
    """The registry answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message", ""))
        self.code: int = error.get("code", 0)


class RegistryConnection:
    """A connection to the registry; `async with` closes it. `call` raises `Refused`, OSError and `trio.TooSlowError`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""
        self._number = 0

    async def __aenter__(self) -> "RegistryConnection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self._stream)

    async def call(self, method: str, *params: object, seconds: float = 5.0) -> Any:
        """Send a call, and return its result."""
        self._number += 1
        request = {"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": params, "id": self._number}
        try:
            with trio.fail_after(seconds):
                await self._stream.send_all(json.dumps(request).encode() + b"\n")
                while b"\n" not in self._rest:
                    data = await self._stream.receive_some(RECEIVE_BYTES)
                    if not data:
                        raise ConnectionResetError("the registry closed the connection")
                    self._rest += data
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError("the connection to the registry broke") from error
        line, _, self._rest = self._rest.partition(b"\n")
        reply = json.loads(line)
        if reply.get("error"):
            raise Refused(reply["error"])
        return reply["result"]


async def connect(seconds: float = 2.0) -> RegistryConnection:
    """Connect to the registry. Raises OSError and `trio.TooSlowError`."""
    with trio.fail_after(seconds):
        return RegistryConnection(await trio.open_tcp_stream("127.0.0.1", REGISTRY_PORT))


async def call_once(method: str, *params: object, seconds: float = 5.0) -> Any:
    """Make one call on a connection of its own."""
    async with await connect() as connection:
        return await connection.call(method, *params, seconds=seconds)
