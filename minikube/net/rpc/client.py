"""The trio side of an RPC connection (floor 2): many tasks call, one task reads. Refuses to reconnect or to retry."""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from minikube.addresses import join_host_port
from minikube.errors import Unavailable
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.net.background import open_background_nursery

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
RECEIVE_BYTES: Final = 65_536

Notified = Callable[[ServerMessage], None]


class RpcClient:
    """An open connection. Any number of tasks may call at once; `closed` is set when it is gone, by either side."""

    def __init__(self, stream: trio.abc.Stream, notified: Notified | None = None) -> None:
        self.closed = trio.Event()
        self.received = 0
        """How often something came: a call's time-out tells of a dead connection where nothing did meanwhile."""
        self._stream = stream
        self._notified = notified
        self._calls = ClientProtocol()
        self._answers: dict[int, ServerMessage | None] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._sending = trio.Lock()

    async def call(self, method: str, params: Any = (), *, timeout: float = CALL_TIMEOUT_S, kind: type = object) -> Any:
        """Call and wait for the answer, decoded as `kind`.

        Raises the error that was answered (NotFound, RemoteError, …), Unavailable when there is none within
        `timeout` seconds, ConnectionLost when the connection is gone, UsageError when the call is too long to send. When
        cancelled, a late answer is dropped.
        """
        if self.closed.is_set():
            raise self._calls.lost("the connection is closed")
        number, line = self._calls.encode(method, params)
        arrived = self._waiting[number] = trio.Event()
        try:
            with trio.fail_after(timeout):
                await self._send(line)
                await arrived.wait()
        except trio.TooSlowError:
            raise Unavailable(f"{method}: no answer within {timeout:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._calls.lost(f"{method}: the connection was lost") from None
        finally:
            del self._waiting[number]
            answer = self._answers.pop(number, None)
        if answer is None:
            raise self._calls.lost(f"{method}: the connection was lost before the answer came")
        return result_of(answer, kind)

    async def _send(self, line: bytes) -> None:
        async with self._sending:
            whole = False
            try:
                await self._stream.send_all(line)
                whole = True
            finally:
                if not whole:  # half a line would garble the next one
                    await self.aclose()

    async def read(self) -> None:
        """Hand out what arrives, until the connection ends. Run by whoever owns the nursery."""
        try:
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                self.received += 1
                for incoming in self._calls.feed(bytes(data)):
                    self._take(incoming)
                if self._calls.refused:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, Unavailable):
            pass  # whoever waits for an answer is told
        finally:
            self.closed.set()
            for arrived in self._waiting.values():
                arrived.set()
            await self.aclose()

    @property
    def stale(self) -> bool:
        """Whether the last answer was from the registry's memory, because its store is away."""
        return self._calls.stale

    @property
    def local_host(self) -> str:
        """The address that the other side sees us at."""
        return str(self._socket_stream().socket.getsockname()[0])

    def _socket_stream(self) -> trio.SocketStream:
        stream = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        assert isinstance(stream, trio.SocketStream)
        return stream

    def _take(self, incoming: ServerMessage) -> None:
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
    timeout: float = CONNECT_TIMEOUT_S,
) -> trio.abc.Stream:
    """Open the stream. Raises ConnectionLost when that does not work within `timeout` seconds."""
    where = join_host_port(host, port)
    try:
        with trio.fail_after(timeout):
            stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
            if tls is not None:
                secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
                try:
                    await secured.do_handshake()
                except BaseException:
                    await trio.aclose_forcefully(stream)
                    raise
                stream = secured
    except (OSError, trio.BrokenResourceError, ExceptionGroup) as error:
        cause = _root(error)
        number = getattr(cause, "errno", None)
        # trio's texts repeat the address; a resolver's errors have negative numbers and texts of their own.
        why = os.strerror(number) if number and number > 0 else cause
        raise ConnectionLost(f"cannot connect to {where}: {why}") from cause
    except trio.TooSlowError:
        raise ConnectionLost(f"cannot connect to {where} within {timeout:g} s") from None
    return stream


def _root(error: BaseException) -> BaseException:
    """The first reason under trio's own wrapping of connection attempts."""
    if isinstance(error, BaseExceptionGroup):
        return _root(error.exceptions[0])
    return _root(error.__cause__) if error.__cause__ else error


@asynccontextmanager
async def open_rpc(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    notified: Notified | None = None,
) -> AsyncIterator[RpcClient]:
    """Connect, and own the connection. `notified` is called for each notification, from the reading task."""
    connection = RpcClient(await connect(host, port, tls=tls, timeout=timeout), notified)
    try:
        async with open_background_nursery() as nursery:
            nursery.start_soon(connection.read)
            yield connection
    finally:
        await connection.aclose()
