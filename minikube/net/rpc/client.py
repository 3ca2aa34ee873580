"""The RPC client for trio: many tasks share one connection. It does not reconnect, retry, or pass on notifications."""

import os
import ssl
from typing import Any, Final

import trio

from minikube.addresses import join_host_port
from minikube.errors import Unavailable
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
RECEIVE_BYTES: Final = 65_536


class RpcClient:
    """An open connection to an RPC server. Any number of tasks may call at the same time; one task runs `read`."""

    def __init__(self, stream: trio.abc.Stream, peer: str = "the server") -> None:
        """`peer` names the server in errors."""
        self.closed = trio.Event()
        """Set when the connection is closed, by either side."""
        self.received = 0
        """Number of receives so far. If it did not grow during a call that timed out, the connection may be dead."""
        self._stream = stream
        self._peer = peer
        self._protocol = ClientProtocol()
        self._replies: dict[int, ServerMessage] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._send_lock = trio.Lock()

    async def call(self, method: str, params: Any = (), *, timeout: float = CALL_TIMEOUT_S, kind: type = object) -> Any:
        """Call a method and return its result, decoded as `kind`.

        Raise the error that the server replied with (`NotFound`, `RemoteError`, …), `Unavailable` if there is no reply
        within `timeout` seconds, `ConnectionLost` if the connection is closed, and `UsageError` if the call is too long to
        be sent. When cancelled, the reply is dropped if it still comes.
        """
        if self.closed.is_set():
            raise self._protocol.lost_error("the connection is closed")
        number, line = self._protocol.encode(method, params)
        arrived = self._waiting[number] = trio.Event()
        try:
            with trio.fail_after(timeout):
                await self._send(line)
                await arrived.wait()
        except trio.TooSlowError:
            raise Unavailable(f"{method}: no answer from {self._peer} within {timeout:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._protocol.lost_error(f"{method}: the connection was lost") from None
        finally:
            del self._waiting[number]
            reply = self._replies.pop(number, None)
        if reply is None:
            raise self._protocol.lost_error(f"{method}: the connection was lost before the answer came")
        return result_of(reply, kind)

    async def _send(self, line: bytes) -> None:
        async with self._send_lock:
            is_sent = False
            try:
                await self._stream.send_all(line)
                is_sent = True
            finally:
                if not is_sent:  # after half a line, the server could not read the next one
                    await self.aclose()

    async def read(self) -> None:
        """Receive replies and pass each to the task that waits for it. Return after the connection ended and is closed."""
        try:
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                self.received += 1
                for message in self._protocol.feed(bytes(data)):
                    self._on_message(message)
                if self._protocol.refused:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, Unavailable):
            pass  # the waiting calls raise it
        finally:
            self.closed.set()
            for arrived in self._waiting.values():
                arrived.set()
            await self.aclose()

    @property
    def stale(self) -> bool:
        """Whether the last reply came from the registry's memory because its store is unreachable."""
        return self._protocol.stale

    @property
    def local_host(self) -> str:
        """This machine's IP address, as the server sees it."""
        stream = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        assert isinstance(stream, trio.SocketStream)
        return str(stream.socket.getsockname()[0])

    def _on_message(self, message: ServerMessage) -> None:
        if not message.is_notification and isinstance(message.id, int) and message.id in self._waiting:
            self._replies[message.id] = message
            self._waiting[message.id].set()

    async def aclose(self) -> None:
        """Close the connection. Pending calls raise `ConnectionLost`."""
        await trio.aclose_forcefully(self._stream)


async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
) -> trio.abc.Stream:
    """Return a stream to the server. Raise `ConnectionLost` if it cannot be opened within `timeout` seconds."""
    target = join_host_port(host, port)
    try:
        with trio.fail_after(timeout):
            stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
            if tls is not None:
                tls_stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
                try:
                    await tls_stream.do_handshake()
                except BaseException:
                    await trio.aclose_forcefully(stream)
                    raise
                stream = tls_stream
    except (OSError, trio.BrokenResourceError, ExceptionGroup) as error:
        cause = _root_cause(error)
        number = getattr(cause, "errno", None)
        # trio's messages repeat the address; a resolver's errors have negative numbers and messages of their own.
        reason = os.strerror(number) if number and number > 0 else cause
        raise ConnectionLost(f"cannot connect to {target}: {reason}") from cause
    except trio.TooSlowError:
        raise ConnectionLost(f"cannot connect to {target} within {timeout:g} s") from None
    return stream


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error under the groups and causes that trio wraps failed connection attempts in."""
    if isinstance(error, BaseExceptionGroup):
        return _root_cause(error.exceptions[0])
    return _root_cause(error.__cause__) if error.__cause__ else error
