"""The control API for trio (floor 2): the dashboard. The stream, logs as they come, and acts.

Each call has a connection of its own, so nothing waits behind anything. It refuses to reconnect and to keep a view:
who shows something decides when to try again (`view.catch_up` makes the view).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import h11
import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from minikube.control.client.endpoint import Endpoint
from minikube.control.client.messages import ServiceReply, error_for
from minikube.control.client.snapshot import decode_update
from minikube.errors import MinikubeError, NothingRunning, RemoteError, Unavailable
from minikube.logs.query import LogQuery
from minikube.model import Delta, LogLine, Snapshot

CONNECT_S = 5.0
ANSWER_S = 10.0
ACT_S = 600.0
"""Stopping a tree takes its stop time-outs, in dependency order."""

PING_INTERVAL_S = 5.0
PONG_S = 5.0
"""A supervisor that is stopped or hangs keeps its sockets open: it is missed after `PING_INTERVAL_S + PONG_S`."""

UPDATE_BYTES = 64 * 1_048_576
RECEIVE_BYTES = 65_536
CLOSE_S = 0.25

Shape = TypeVar("Shape")


class UpdateStream:
    """An async iterator of what the board sends: a `Snapshot` first, then `Delta`s and now and then a `Snapshot`.

    It never ends by itself: when the connection does, `Unavailable` is raised.
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
            raise Unavailable(f"{self._endpoint.netloc}: the stream makes no sense: {error}") from None


@asynccontextmanager
async def open_stream(endpoint: Endpoint) -> AsyncIterator[UpdateStream]:
    """Connects to `/v1/stream`. Raises `NothingRunning`, `Unavailable`, or `RemoteError` when it is refused.

    `Unavailable` is also raised into the block when the supervisor stops answering pings.
    """
    failure: Exception | None = None
    stream = await _connect(endpoint)
    try:
        async with stream, trio.open_nursery() as nursery:

            async def miss_pongs(socket: WebSocketConnection) -> None:
                nonlocal failure
                while True:
                    await trio.sleep(PING_INTERVAL_S)
                    with trio.move_on_after(PONG_S) as waiting:
                        try:
                            await socket.ping()
                        except ConnectionClosed:
                            return
                    if waiting.cancelled_caught:
                        failure = Unavailable(f"{endpoint.netloc}: the supervisor does not answer")
                        nursery.cancel_scope.cancel()

            try:  # errors leave the nursery's block by hand, so that they arrive bare and not in a group
                socket = await _shake_hands(nursery, stream, endpoint)
                nursery.start_soon(miss_pongs, socket)
                try:
                    yield UpdateStream(endpoint, socket)
                finally:
                    with trio.move_on_after(CLOSE_S, shield=True):
                        await socket.aclose()
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:  # trio-websocket raises it out of its own task
        rejected = next(error for error in group.exceptions if isinstance(error, ConnectionRejected))
        failure = error_for(rejected.status_code, rejected.body or b"")
    except* Exception as group:
        failure = Unavailable(f"{endpoint.netloc}: the stream broke: {group.exceptions[0]}")
    if failure is not None:
        raise failure


async def _connect(endpoint: Endpoint) -> trio.SocketStream:
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except trio.TooSlowError:
        raise Unavailable(f"{endpoint.netloc}: the supervisor does not answer") from None
    except OSError as error:
        raise _no_connection(endpoint, error) from None


async def _shake_hands(nursery: trio.Nursery, stream: trio.SocketStream, endpoint: Endpoint) -> WebSocketConnection:
    try:
        with trio.fail_after(CONNECT_S):
            return await wrap_client_stream(
                nursery,
                stream,
                endpoint.netloc,
                "/v1/stream",
                extra_headers=[(b"Authorization", f"Bearer {endpoint.token}".encode())],
                max_message_size=UPDATE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
    except trio.TooSlowError:
        raise Unavailable(f"{endpoint.netloc}: the supervisor does not answer") from None
    except HandshakeError as error:
        raise RemoteError(0, f"{endpoint.netloc}: no websocket there: {error}") from None


async def send_command(endpoint: Endpoint, verb: str, name: str, **body: Any) -> None:
    """`start`, `stop`, `restart`, `kill`, `scale` or `maintenance` on a service or instance; `body` as in the API."""
    target = f"/v1/services/{quote(name, safe='')}/{verb}"
    await _ask(endpoint, "POST", target, dict[str, Any], msgspec.json.encode(body) if body else b"", ACT_S)


async def shutdown(endpoint: Endpoint, *, now: bool = False) -> None:
    """Begins to stop everything; the stream shows how it goes, and ends with it."""
    await _ask(endpoint, "POST", "/v1/shutdown", dict[str, Any], msgspec.json.encode({"now": now}), ANSWER_S)


async def describe(endpoint: Endpoint, name: str) -> ServiceReply:
    """A service with its instances, events and dependents, or one instance by name or id."""
    return await _ask(endpoint, "GET", f"/v1/services/{quote(name, safe='')}", ServiceReply, b"", ANSWER_S)


class NdjsonReader(Generic[Shape]):
    """An async iterator over an NDJSON answer; `batch` takes everything that has arrived at once."""

    def __init__(self, exchange: "_Exchange", shape: type[Shape]) -> None:
        self._exchange = exchange
        self._decoder = msgspec.json.Decoder(shape)
        self._rest = b""
        self._ready: list[Shape] = []

    def __aiter__(self) -> "NdjsonReader[Shape]":
        return self

    async def __anext__(self) -> Shape:
        if not self._ready:
            self._ready = (await self.batch())[::-1]
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.pop()

    async def batch(self) -> list[Shape]:
        """All lines that are here, at least one; empty at the end of the answer."""
        while chunk := await self._exchange.read():
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            try:
                if items := [self._decoder.decode(line) for line in lines if line]:
                    return items
            except (msgspec.DecodeError, RecursionError) as error:
                raise Unavailable(f"the supervisor's answer makes no sense: {error}") from None
        return []


@asynccontextmanager
async def follow_logs(
    endpoint: Endpoint, names: Sequence[str] = (), *, tail: int = 100, follow: bool = True
) -> AsyncIterator[NdjsonReader[LogLine]]:
    """The last `tail` lines of the named services or instances (or all), then new ones as they come.

    Ends when the supervisor ends; raises `NotFound` on entering, `Unavailable` when the connection breaks.
    """
    path, query = "/v1/logs", LogQuery(tail, follow).parameters()
    if len(names) == 1:
        path = f"/v1/services/{quote(names[0], safe='')}/logs"
    else:
        query += [("name", name) for name in names]
    async with _open_exchange(endpoint, "GET", f"{path}?{urlencode(query)}", b"", ANSWER_S) as exchange:
        yield NdjsonReader(exchange, LogLine)


class _Exchange:
    """One request and its answer on a connection of its own."""

    def __init__(self, endpoint: Endpoint, stream: trio.abc.Stream) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._ended = False

    async def send(self, method: str, target: str, body: bytes) -> int:
        """The status of the answer."""
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
        """Some of the answer's body; empty at its end."""
        try:
            while not self._ended:
                event = await self._next_event()
                if isinstance(event, h11.Data):
                    return bytes(event.data)
                self._ended = isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed))
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            raise Unavailable(f"{self._endpoint.netloc}: the supervisor broke off its answer") from None
        return b""

    async def read_all(self) -> bytes:
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
    endpoint: Endpoint, method: str, target: str, body: bytes, answer_s: float
) -> AsyncIterator[_Exchange]:
    """Connects, asks, and yields once the answer is a success; anything else is raised."""
    stream = await _connect(endpoint)
    async with stream:
        exchange = _Exchange(endpoint, stream)
        try:
            with trio.fail_after(answer_s):
                status = await exchange.send(method, target, body)
                if status >= 300:
                    raise error_for(status, await exchange.read_all())
        except trio.TooSlowError:
            raise Unavailable(f"{endpoint.netloc}: no answer within {answer_s:g} s") from None
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            raise Unavailable(f"{endpoint.netloc}: the supervisor broke off its answer") from None
        yield exchange


async def _ask(endpoint: Endpoint, method: str, target: str, shape: type[Shape], body: bytes, answer_s: float) -> Shape:
    async with _open_exchange(endpoint, method, target, body, answer_s) as exchange:
        with trio.move_on_after(ANSWER_S):
            data = await exchange.read_all()
            try:
                return msgspec.json.decode(data, type=shape)
            except (msgspec.DecodeError, RecursionError) as error:
                raise Unavailable(f"{endpoint.netloc}: the answer makes no sense: {error}") from None
    raise Unavailable(f"{endpoint.netloc}: the answer stopped half-way")


def _no_connection(endpoint: Endpoint, error: OSError) -> MinikubeError:
    causes = [error, error.__cause__, *getattr(error.__cause__, "exceptions", ())]
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NothingRunning(f"{endpoint.netloc}: nothing is running there — `minikube up` starts it")
    return Unavailable(f"{endpoint.netloc}: cannot connect: {error}")
