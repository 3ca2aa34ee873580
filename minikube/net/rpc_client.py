"""The trio side of an RPC connection (floor 2): many tasks call, one task reads. Refuses to reconnect or to retry."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from minikube.errors import Unavailable
from minikube.protocol.calls import Calls, result_of
from minikube.protocol.jsonrpc import Incoming

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
RECEIVE_BYTES: Final = 65_536

Notified = Callable[[Incoming], None]


class RpcConnection:
    """An open connection. Any number of tasks may call at once; `closed` is set when it is gone, by either side."""

    def __init__(self, stream: trio.abc.Stream, notified: Notified | None = None) -> None:
        self.closed = trio.Event()
        self._stream = stream
        self._notified = notified
        self._calls = Calls()
        self._answers: dict[int, Incoming | None] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._sending = trio.Lock()

    async def call(self, method: str, params: Any = (), *, timeout: float = CALL_TIMEOUT_S, kind: type = object) -> Any:  # noqa: ASYNC109
        """Call and wait for the answer, decoded as `kind`.

        Raises the error that was answered (NotFound, RemoteError, …), or Unavailable: no answer within `timeout`
        seconds, or the connection was lost. When cancelled, a late answer is dropped.
        """
        if self.closed.is_set():
            raise Unavailable("the connection is closed")
        number, line = self._calls.encode(method, params)
        arrived = self._waiting[number] = trio.Event()
        try:
            with trio.fail_after(timeout):
                async with self._sending:
                    await self._stream.send_all(line)
                await arrived.wait()
        except trio.TooSlowError:
            raise Unavailable(f"{method}: no answer within {timeout:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Unavailable(f"{method}: the connection was lost") from None
        finally:
            del self._waiting[number]
            answer = self._answers.pop(number, None)
        if answer is None:
            raise Unavailable(f"{method}: the connection was lost before the answer came")
        return result_of(answer, kind)

    async def read(self) -> None:
        """Hand out what arrives, until the connection ends. Run by whoever owns the nursery."""
        try:
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                for incoming in self._calls.feed(bytes(data)):
                    self._take(incoming)
        except (trio.BrokenResourceError, trio.ClosedResourceError, Unavailable):
            pass  # whoever waits for an answer is told
        finally:
            self.closed.set()
            for arrived in self._waiting.values():
                arrived.set()

    def _take(self, incoming: Incoming) -> None:
        if incoming.is_notification:
            if self._notified is not None:
                self._notified(incoming)
        elif isinstance(incoming.id, int) and incoming.id in self._waiting:
            self._answers[incoming.id] = incoming
            self._waiting[incoming.id].set()

    async def aclose(self) -> None:
        """Close the connection; calls under way raise Unavailable."""
        await trio.aclose_forcefully(self._stream)


async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = CONNECT_TIMEOUT_S,  # noqa: ASYNC109
) -> trio.abc.Stream:
    """Open the stream. Raises Unavailable when that does not work within `timeout` seconds."""
    where = f"{host}:{port}"
    try:
        with trio.fail_after(timeout):
            stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
            if tls is not None:
                secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
                await secured.do_handshake()
                stream = secured
    except (OSError, trio.BrokenResourceError, ExceptionGroup) as error:
        raise Unavailable(f"cannot connect to {where}: {error}") from None
    except trio.TooSlowError:
        raise Unavailable(f"cannot connect to {where} within {timeout:g} s") from None
    return stream


@asynccontextmanager
async def open_rpc(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = CONNECT_TIMEOUT_S,  # noqa: ASYNC109
    notified: Notified | None = None,
) -> AsyncIterator[RpcConnection]:
    """Connect, and own the connection. `notified` is called for each notification, from the reading task."""
    connection = RpcConnection(await connect(host, port, tls=tls, timeout=timeout), notified)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.read)
        try:
            yield connection
        finally:
            nursery.cancel_scope.cancel()
            await connection.aclose()
