"""The SDK for asyncio programs: the same methods on asyncio's streams.

    async with aio.registered("web", 8080):
        await serve_forever()

`registration` and `watch` decide what to send and when to try again; this module connects, sends and waits. No trio here.
More than 400 lines in one piece: connection, calls, watches and registrations share the rules of closing and of forks.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from minikube.defaults import TOKEN_ENV
from minikube.errors import MinikubeError, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.calls import ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.model import Address, Change
from minikube.sdk import forks, requests
from minikube.sdk.methods import AsyncMethods
from minikube.sdk.peer import (
    RegistryProtocol,
    connect_problem,
    explain_silence,
    log_omitted_token,
    may_explain,
    may_omit_token,
    version_problem,
)
from minikube.sdk.registration import LEAVE_S, RegisterOptions, RegistrationKeeper, make_registration
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import (
    CALL_TIMEOUT_S,
    FAILOVER_S,
    LAST_RETRY_S,
    Attempts,
    Backoff,
    Endpoints,
    RegistryAddress,
    find_registry,
)
from minikube.sdk.tls import make_context
from minikube.sdk.watch import Watcher

if TYPE_CHECKING:
    import ssl

LOGGER = logging.getLogger("minikube")
RECEIVE_BYTES = 65_536

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(address: RegistryAddress, tls: "ssl.SSLContext | None", seconds: float) -> Streams:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.open_connection(address.host, address.port, ssl=tls)
    except OSError as error:  # TimeoutError is one
        raise connect_problem(str(address), error, seconds) from error


async def _abort(writer: asyncio.StreamWriter) -> None:
    """Close the connection at once and wait until its socket is closed, because the event loop may end right after."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task of the SDK, wait for its end and raise what it raised."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


class _Socket:
    """The socket of a connection. In a forked child it is disconnected: the connection and the event loop are the parent's."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._socket = writer.get_extra_info("socket")
        forks.add(self)

    def after_fork(self) -> None:
        forks.disconnect(self._socket.fileno())


class _Connection:
    """An open connection, its pending calls, and the task that reads from it."""

    def __init__(self, streams: Streams, address: RegistryAddress, protocol: RegistryProtocol) -> None:
        reader, writer = streams
        self.writer = writer
        self.address = address
        self.lacks_token = False
        """Whether the registry could not ask its store for the token, which must be presented again."""
        self._reader = reader
        self._socket = _Socket(writer)
        self._calls = protocol
        self._waiting: dict[int, asyncio.Future[ServerMessage]] = {}
        self.received = 0
        """How often bytes arrived. A call that times out while none arrived means a dead connection."""
        self.task = asyncio.create_task(self._read())

    @property
    def stale(self) -> bool:
        return self._calls.stale

    def abandon(self) -> None:
        """Close the connection of an event loop that is closed."""
        self._socket.after_fork()

    async def leave_silent(self) -> None:
        """Close the connection when the registry gives no sign of life for `FAILOVER_S`."""
        while not self.task.done():
            received = self.received
            await asyncio.sleep(FAILOVER_S / 2)
            if self.received == received:
                with suppress(MinikubeError, TimeoutError):
                    async with asyncio.timeout(FAILOVER_S / 2):
                        await self.call(requests.status())
                if self.received == received:
                    self.task.cancel()
                    return

    async def call(self, call: Call[T]) -> T:
        if self.task.done():
            raise self._calls.lost_error("the connection is closed")
        number, line = self._calls.encode(call.method, call.params)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.writer.write(line)
            result: T = result_of(await future, call.kind)
            return result
        finally:
            del self._waiting[number]

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(RECEIVE_BYTES):
                self.received += 1
                for incoming in self._calls.feed(data):
                    future = self._waiting.get(incoming.id) if isinstance(incoming.id, int) else None
                    if future is not None and not future.done():
                        future.set_result(incoming)
                if self._calls.refused:
                    break
        except (OSError, Unavailable):
            pass  # the pending calls below raise
        finally:
            self.writer.transport.abort()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._calls.lost_error("the connection was lost"))

    async def close(self) -> None:
        try:
            await _cancel_and_wait(self.task)
        finally:
            await _abort(self.writer)


class Registry(AsyncMethods):
    """A client of one registry, or of the first that answers of several. It connects at the first call, and again when the
    connection was lost.

    Any task of the event loop may call. A forked child, and a later event loop, open a connection of their own. While the
    event loop of the first call is open, calls from another one raise `UsageError`.

    A call that a lost connection interrupted is repeated: every method is safe to repeat. A registry that was never
    reached, or that accepts no more connections, raises `Unavailable` at once.
    """

    def __init__(self, address: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.address = address
        self._tls = tls
        self._endpoints = Endpoints(address)
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the connection belongs to."""
        forks.add(self)

    def after_fork(self) -> None:
        """Leave the connection to the parent; the child opens one of its own at its first call."""
        self._connection = self._loop = None
        self._connecting = asyncio.Lock()

    async def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        try:
            return await self._send(call, timeout)
        except Unavailable as error:
            if self._tls or not may_explain(self._endpoints):
                raise
            raise await asyncio.to_thread(explain_silence, error, self._endpoints) from error.__cause__

    async def _send(self, call: Call[T], timeout: float) -> T:
        loop = self._bind_loop()
        deadline = loop.time() + timeout + call.extra_s
        attempts: Attempts | None = None
        connection, received = None, 0
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    endpoint = self._endpoints.current
                    try:
                        connection = await self._connect(endpoint)
                        endpoint = connection.address
                        received = connection.received
                        if connection.lacks_token and call.method not in requests.LOOKUPS:
                            await self._authenticate_again(connection)
                        if not self._endpoints.several:
                            return await connection.call(call)
                        guard = asyncio.create_task(connection.leave_silent())
                        try:
                            return await connection.call(call)
                        finally:
                            guard.cancel()
                    except ConnectionLost as error:
                        attempts = attempts or Attempts(self._endpoints, deadline)
                        wait = attempts.failed(error, loop.time())
                        self._endpoints.leave(endpoint)
                    except RemoteError as error:
                        raise version_problem(error, call.method, str(endpoint)) from None
                    await asyncio.sleep(wait)
        except TimeoutError:
            if connection is not None and connection.received == received:
                connection.task.cancel()  # no byte arrived: the next call connects anew
            raise Unavailable(f"{call.method}: no answer from {self.address} in time") from None

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    async def local_name(self) -> tuple[Any, ...]:
        """Return the local end of the connection to the registry, as getsockname(2) does. Raises `Unavailable`."""
        self._bind_loop()
        endpoint = self._endpoints.current
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                connection = await self._connect(endpoint)
                name: tuple[Any, ...] = connection.writer.get_extra_info("sockname")
                return name
        except TimeoutError:
            raise Unavailable(f"no answer from {self.address} in time") from None
        except ConnectionLost:
            self._endpoints.leave(endpoint)
            raise

    async def wait_lost(self, seconds: float) -> bool:
        """Wait until the connection is lost, at most `seconds`. Return whether it was lost."""
        task = self._connection.task if self._connection else None
        if task is None or task.done():
            await asyncio.sleep(seconds)
            return False
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return bool(done)

    async def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _bind_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, after giving up the connection of an earlier one. Raises `UsageError`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                raise UsageError(
                    "this Registry belongs to another event loop that is still open — open one in each event loop"
                )
            if self._connection is not None:
                self._connection.abandon()
            self._connection, self._connecting, self._loop = None, asyncio.Lock(), loop
        return loop

    async def _connect(self, endpoint: RegistryAddress) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.task.done():
                seconds = self._endpoints.connect_limit_s(CALL_TIMEOUT_S)
                streams = await _connect(endpoint, self._tls, seconds)
                protocol = RegistryProtocol(str(endpoint), self._endpoints.on_answer, tls=bool(self._tls))
                connection = _Connection(streams, endpoint, protocol)
                try:
                    if endpoint.token:
                        await self._authenticate(connection, endpoint.token)
                except BaseException:
                    await connection.close()
                    raise
                self._connection, self._endpoints.reached = connection, True
            return self._connection

    async def _authenticate(self, connection: _Connection, token: str) -> None:
        """Present the token. Go on without it where the registry needs none and `may_omit_token`. Raises `RemoteError`."""
        try:
            async with asyncio.timeout(self._endpoints.connect_limit_s(CALL_TIMEOUT_S)):
                try:
                    await connection.call(requests.authenticate(token))
                    connection.lacks_token = False
                except (RemoteError, Unavailable) as refusal:
                    if not may_omit_token(connection.address, refusal):
                        raise
                    try:
                        await connection.call(requests.status())
                    except RemoteError:
                        raise refusal from None
                    connection.lacks_token = isinstance(refusal, Unavailable)
                    if not connection.lacks_token:
                        log_omitted_token(str(connection.address))
        except TimeoutError:
            raise ConnectionLost(f"{connection.address} does not answer") from None

    async def _authenticate_again(self, connection: _Connection) -> None:
        """Present the token that was left out for a while. Raises `Unavailable` where it still cannot be asked for."""
        await self._authenticate(connection, connection.address.token)
        if connection.lacks_token:
            raise Unavailable(f"{connection.address} cannot ask its store for the token in {TOKEN_ENV}")

    @asynccontextmanager
    async def watch(self, name: str = "*") -> AsyncIterator[AsyncIterator[WatchSnapshot | Change]]:
        """Watch a service, or `*` for all: a `WatchSnapshot`, then each `Change` once and in order.

        The iterator reconnects and resumes by itself. When the registry's change log no longer reaches back to the last
        update, another `WatchSnapshot` comes, which replaces everything received before. Raises only errors that a
        repetition cannot mend: an invalid name, a wrong token.
        """
        updates = self._updates(Watcher(name, self.address, leaves_silent=self._endpoints.several))
        try:
            yield updates
        finally:
            await updates.aclose()

    async def _updates(self, watcher: Watcher) -> AsyncGenerator[WatchSnapshot | Change, None]:
        backoff = Backoff()
        while True:
            writer: asyncio.StreamWriter | None = None
            endpoint = self._endpoints.current
            try:
                seconds = self._endpoints.connect_limit_s(CALL_TIMEOUT_S)
                reader, writer = await _connect(endpoint, self._tls, seconds)
                held = _Socket(writer)  # noqa: F841 - held while the connection is open
                writer.write(watcher.on_connect(str(endpoint), tls=bool(self._tls)))
                while data := await _receive(reader, writer, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    writer.write(watcher.take_output())
                    for update in updates:
                        yield update
            except (Unavailable, OSError) as error:
                if problem := watcher.problem_to_log(error):
                    LOGGER.warning("%s", problem)
            finally:
                if writer is not None:
                    await _abort(writer)
            self._endpoints.leave(endpoint)
            await asyncio.sleep(backoff.next())


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watcher: Watcher) -> bytes:
    """Return the next bytes of the connection; empty at its end.

    Keeps the watch alive while the registry is silent. Raises `ConnectionLost` when the registry is silent too long.
    """
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(watcher.silence_limit_s):
                return await reader.read(RECEIVE_BYTES)
        writer.write(watcher.on_silence())


@asynccontextmanager
async def open_registry(
    address: str | None = None, *, token: str | None = None, tls: "ssl.SSLContext | None" = None
) -> AsyncIterator[Registry]:
    """Open a client of the registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555); it connects at its first
    call. Raises `UsageError` for a malformed address or TLS files that cannot be read."""
    found = find_registry(address, token)
    registry = Registry(found, tls or make_context(found))
    try:
        yield registry
    finally:
        await registry.close()


@asynccontextmanager
async def registered(
    name: str | None = None,
    port: int | None = None,
    *,
    address: str | None = None,
    token: str | None = None,
    tls: "ssl.SSLContext | None" = None,
    **options: Unpack[RegisterOptions],
) -> AsyncIterator[RegistrationKeeper]:
    """Keep a service registered while the block runs, and deregister it at the end.

    The registration is renewed, and repeated when the registry has lost it. Under a supervisor `registered()` needs no
    arguments: the environment has SERVICE_NAME, PORT, HOST and INSTANCE_ID.
    An unreachable registry raises nothing: the keeper tries again. A registry that refuses the first registration ends the
    block: its task is cancelled, and the block raises the `RemoteError`. Leaving takes at most 1 s. In a forked child nothing is
    renewed, and leaving the block there does not deregister.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    process = os.getpid()
    async with open_registry(address, token=token, tls=tls) as registry:
        body = asyncio.current_task()
        assert body is not None
        cancels, is_inside = body.cancelling(), True

        def on_end(_: object) -> None:
            if keeper.refusal and is_inside:
                body.cancel()

        task = asyncio.create_task(_keep_on(keeper, registry))
        task.add_done_callback(on_end)
        try:
            yield keeper
        except asyncio.CancelledError:
            # Ours, unless the task was cancelled by another one, too: decided as `asyncio.timeout` does.
            if keeper.refusal and body.uncancel() <= cancels:
                raise keeper.refusal from None
            raise
        finally:
            is_inside = False
            if os.getpid() == process:
                await _leave(keeper, registry, task)
            else:
                task.cancel()  # a forked child: the entry is the parent's


async def _leave(keeper: RegistrationKeeper, registry: Registry, task: asyncio.Task[None]) -> None:
    try:
        await _cancel_and_wait(task)
    finally:
        keeper.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await _keep(keeper, registry)


async def _keep_on(keeper: RegistrationKeeper, registry: Registry) -> None:
    while not keeper.leaving and not keeper.refusal:
        try:
            await _keep(keeper, registry)
        except Exception:
            # Any error: a task that ends is not noticed before the block does, and the instance's lease is over sooner.
            LOGGER.exception("%s: the task that keeps it registered failed; going on", keeper.name)
            await asyncio.sleep(LAST_RETRY_S)


async def _keep(keeper: RegistrationKeeper, registry: Registry) -> None:
    clock = asyncio.get_running_loop().time
    while (step := keeper.next_step(clock())) is not None:
        if isinstance(step, float):
            if await registry.wait_lost(step):
                keeper.connection_lost(clock())
            continue
        try:
            if keeper.needs_local_host:
                keeper.set_local_host(await registry.local_name())
                continue
            result = await registry.send(step)
        except MinikubeError as error:
            if problem := keeper.failed(clock(), step, error):
                LOGGER.warning("%s", problem)
        else:
            keeper.succeeded(clock(), step, result)


async def discover(name: str, *, address: str | None = None, token: str | None = None) -> Address:
    """Return the address of one passing instance of `name`, over a connection of its own.

    For more than one lookup use `open_registry`. Raises `NotFound` when no instance passes.
    """
    async with open_registry(address, token=token) as registry:
        return await registry.get(name)


@asynccontextmanager
async def watch(
    name: str = "*", *, address: str | None = None, token: str | None = None
) -> AsyncIterator[AsyncIterator[WatchSnapshot | Change]]:
    """Watch a service over a registry client of its own: see `Registry.watch`."""
    async with open_registry(address, token=token) as registry, registry.watch(name) as updates:
        yield updates
