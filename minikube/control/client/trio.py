"""The control API's client of the dashboard, for trio: the stream, logs as they are written, commands.

Each call has a connection of its own, so that none waits for another. It refuses to reconnect, and to keep the project's state
(`snapshot.apply_update` does).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import h11
import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from minikube.control.client.endpoint import Endpoint
from minikube.control.client.messages import error_for
from minikube.control.client.snapshot import decode_update
from minikube.errors import MinikubeError, NothingRunning, RemoteError, Unavailable
from minikube.logs.query import LogQuery
from minikube.model import Delta, LogLine, Snapshot

CONNECT_S = 5.0
REPLY_S = 10.0
COMMAND_S = 600.0
"""Time for a command: stopping services takes the stop time-outs of all of them, in dependency order."""

PING_INTERVAL_S = 0.5
SILENT_S = 1.0
"""A supervisor that is suspended or hangs keeps its sockets open. It is noticed within `PING_INTERVAL_S + SILENT_S`."""
PONG_S = 10.0
"""After this time without an answer the connection is given up. Until then a busy supervisor may answer again."""

MAX_UPDATE_BYTES = 64 * 1_048_576
RECEIVE_BYTES = 65_536
CLOSE_S = 0.25

Shape = TypeVar("Shape")


class UpdateStream:
    """An async iterator over the messages of `/v1/stream`: a `Snapshot`, then `Delta`s and sometimes a `Snapshot` again.

    It never ends: `Unavailable` is raised when the connection is closed.
    """

    def __init__(self, endpoint: Endpoint, socket: WebSocketConnection) -> None:
        self._endpoint = endpoint
        self._socket = socket

    def __aiter__(self) -> "UpdateStream":
        return self

    async def __anext__(self) -> Snapshot | Delta:
        try:
            return decode_update(await self._socket.get_message())
        except ConnectionClosed:
            raise Unavailable(f"{self._endpoint.netloc}: the supervisor closed the stream") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unavailable(f"{self._endpoint.netloc}: the stream has a malformed message: {error}") from None


@asynccontextmanager
async def open_stream(
    endpoint: Endpoint, on_silence: Callable[[bool], object] = lambda is_silent: None
) -> AsyncIterator[UpdateStream]:
    """Connect to `/v1/stream`. Raise `NothingRunning`, `Unavailable`, or the error that the supervisor replies with.

    `on_silence` is called with True when the supervisor has not answered a ping for `SILENT_S`, with False when it answers
    again. `Unavailable` is raised in the block when it has not answered for `PONG_S`.
    """
    failure: Exception | None = None
    stream = await _connect(endpoint)
    try:
        async with stream, trio.open_nursery() as nursery:

            async def watch_pongs(socket: WebSocketConnection) -> None:
                nonlocal failure
                while await _ping(socket, on_silence):
                    await trio.sleep(PING_INTERVAL_S)
                failure = Unavailable(f"{endpoint.netloc}: the supervisor does not answer")
                nursery.cancel_scope.cancel()

            # Errors are stored and raised after the nursery, so that they are not wrapped in an exception group.
            try:
                socket = await _open_websocket(nursery, stream, endpoint)
                nursery.start_soon(watch_pongs, socket)
                try:
                    yield UpdateStream(endpoint, socket)
                finally:
                    with trio.move_on_after(CLOSE_S, shield=True):
                        await socket.aclose()
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:  # trio-websocket raises it in its own task
        rejected = next(error for error in group.exceptions if isinstance(error, ConnectionRejected))
        failure = error_for(rejected.status_code, rejected.body or b"")
    except* Exception as group:
        failure = Unavailable(f"{endpoint.netloc}: the stream failed: {group.exceptions[0]}")
    if failure is not None:
        raise failure


async def _ping(socket: WebSocketConnection, on_silence: Callable[[bool], object]) -> bool:
    """Send a ping; return False when it is not answered within `PONG_S`. Call `on_silence` as `open_stream` says."""
    answered = trio.Event()

    async def ping() -> None:
        # A connection that is closed is found out by its reader.
        with suppress(ConnectionClosed):
            await socket.ping()
        answered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ping)
        with trio.move_on_after(SILENT_S):
            await answered.wait()
        if not answered.is_set():
            on_silence(True)
            with trio.move_on_after(PONG_S - SILENT_S):
                await answered.wait()
            if answered.is_set():
                on_silence(False)
        nursery.cancel_scope.cancel()
    return answered.is_set()


async def _connect(endpoint: Endpoint) -> trio.SocketStream:
    """Open a connection to the control API. Raise `NothingRunning` or `Unavailable`."""
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except trio.TooSlowError:
        raise Unavailable(f"{endpoint.netloc}: the supervisor does not answer") from None
    except OSError as error:
        raise _connect_error(endpoint, error) from None


async def _open_websocket(nursery: trio.Nursery, stream: trio.SocketStream, endpoint: Endpoint) -> WebSocketConnection:
    """Send the websocket handshake, and return the websocket, whose task runs in `nursery`."""
    try:
        with trio.fail_after(CONNECT_S):
            return await wrap_client_stream(
                nursery,
                stream,
                endpoint.netloc,
                "/v1/stream",
                extra_headers=[(b"Authorization", f"Bearer {endpoint.token}".encode())],
                max_message_size=MAX_UPDATE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
    except trio.TooSlowError:
        raise Unavailable(f"{endpoint.netloc}: the supervisor does not answer") from None
    except HandshakeError as error:
        raise RemoteError(0, f"{endpoint.netloc}: the server there does not speak websocket: {error}") from None


async def send_command(endpoint: Endpoint, command: str, name: str, **body: Any) -> None:
    """Run a command on a service or an instance, and wait until it is done.

    `command` is `start`, `stop`, `restart`, `kill`, `scale` or `maintenance`; `body` are its fields in the API.
    """
    target = f"/v1/services/{quote(name, safe='')}/{command}"
    async with _open_exchange(endpoint, "POST", target, msgspec.json.encode(body) if body else b"", COMMAND_S):
        pass


class NdjsonReader(Generic[Shape]):
    """Reads the lines of an NDJSON response in batches."""

    def __init__(self, exchange: "_Exchange", shape: type[Shape]) -> None:
        self._exchange = exchange
        self._decoder = msgspec.json.Decoder(shape)
        self._rest = b""

    async def read_batch(self) -> list[Shape]:
        """Return the lines that have arrived, at least one. The list is empty at the end of the response."""
        while chunk := await self._exchange.read():
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            try:
                if items := [self._decoder.decode(line) for line in lines if line]:
                    return items
            except (msgspec.DecodeError, RecursionError) as error:
                raise Unavailable(f"the supervisor sent a malformed reply: {error}") from None
        return []


@asynccontextmanager
async def follow_logs(
    endpoint: Endpoint, names: Sequence[str] = (), *, tail: int = 100, follow: bool = True
) -> AsyncIterator[NdjsonReader[LogLine]]:
    """Open a reader of the last `tail` log lines of services or instances (no name: of all services), then of new lines.

    The response ends when the supervisor exits. Raise `NotFound` for an unknown name; reading raises `Unavailable` when the
    connection breaks.
    """
    path, query = "/v1/logs", LogQuery(tail, follow).parameters()
    if len(names) == 1:
        path = f"/v1/services/{quote(names[0], safe='')}/logs"
    else:
        query += [("name", name) for name in names]
    async with _open_exchange(endpoint, "GET", f"{path}?{urlencode(query)}", b"", REPLY_S) as exchange:
        yield NdjsonReader(exchange, LogLine)


class _Exchange:
    """One HTTP request and its response, on a new connection."""

    def __init__(self, endpoint: Endpoint, stream: trio.abc.Stream) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._has_ended = False

    async def send(self, method: str, target: str, body: bytes) -> int:
        """Send the request, and return the status of the response."""
        headers = [
            ("Host", self._endpoint.netloc),
            ("Authorization", f"Bearer {self._endpoint.token}"),
            ("Connection", "close"),
            *([("Content-Length", str(len(body)))] if body else []),
        ]
        http = self._http
        data = http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        data += (http.send(h11.Data(data=body)) or b"") if body else b""
        await self._stream.send_all(data + (http.send(h11.EndOfMessage()) or b""))
        while not isinstance(head := await self._next_event(), h11.Response):
            if isinstance(head, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("no answer")
        return head.status_code

    async def read(self) -> bytes:
        """Return the next bytes of the response's body; empty at its end."""
        try:
            while not self._has_ended:
                event = await self._next_event()
                if isinstance(event, h11.Data):
                    return bytes(event.data)
                self._has_ended = isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed))
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            raise Unavailable(f"{self._endpoint.netloc}: the supervisor did not complete its reply") from None
        return b""

    async def read_all(self) -> bytes:
        """Return the rest of the response's body."""
        data = b""
        while chunk := await self.read():
            data += chunk
        return data

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))
        return event


@asynccontextmanager
async def _open_exchange(
    endpoint: Endpoint, method: str, target: str, body: bytes, timeout: float
) -> AsyncIterator[_Exchange]:
    """Send a request, wait for the head of its response, and yield the exchange. Raise the error of an error reply."""
    stream = await _connect(endpoint)
    async with stream:
        exchange = _Exchange(endpoint, stream)
        try:
            with trio.fail_after(timeout):
                status = await exchange.send(method, target, body)
                if status >= 300:
                    raise error_for(status, await exchange.read_all())
        except trio.TooSlowError:
            raise Unavailable(f"{endpoint.netloc}: no answer within {timeout:g} s") from None
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            raise Unavailable(f"{endpoint.netloc}: the supervisor did not complete its reply") from None
        yield exchange


def _connect_error(endpoint: Endpoint, error: OSError) -> MinikubeError:
    """Return the error to raise for a connection that cannot be opened."""
    causes = [error, error.__cause__, *getattr(error.__cause__, "exceptions", ())]
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NothingRunning(f"{endpoint.netloc}: nothing is running there — `minikube up` starts it")
    return Unavailable(f"{endpoint.netloc}: cannot connect: {error}")
