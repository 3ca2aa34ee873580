"""The SDK for asyncio programs: the same methods on asyncio's streams.

    async with aio.registered("web", 8080):
        await serve_forever()

`registration` and `watch` decide what to send and when to try again; this module connects, sends and waits. No trio here.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar, Unpack

from minikube.errors import MinikubeError, Unavailable
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.model import Address, Change
from minikube.sdk import requests
from minikube.sdk.methods import AsyncMethods
from minikube.sdk.registration import LEAVE_S, RegisterOptions, RegistrationKeeper, make_registration
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import CALL_TIMEOUT_S, LAST_RETRY_S, Backoff, RegistryAddress, find_registry
from minikube.sdk.tls import make_context
from minikube.sdk.watch import Watcher

if TYPE_CHECKING:
    import ssl

LOGGER = logging.getLogger("minikube")
RECEIVE_BYTES = 65_536

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(address: RegistryAddress, tls: "ssl.SSLContext | None") -> Streams:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await asyncio.open_connection(address.host, address.port, ssl=tls)
    except OSError as error:  # TimeoutError is one
        raise ConnectionLost(f"cannot connect to {address}: {error.strerror or error}") from error


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


class _Connection:
    """An open connection, its pending calls, and the task that reads from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._calls = ClientProtocol()
        self._waiting: dict[int, asyncio.Future[ServerMessage]] = {}
        self.received = 0
        """How often bytes arrived. A call that times out while none arrived means a dead connection."""
        self.task = asyncio.create_task(self._read())

    @property
    def stale(self) -> bool:
        return self._calls.stale

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
    """A client of one registry. It connects at the first call, and again when the connection was lost.

    Any task of the event loop may call. A call that a lost connection interrupted is repeated: every method is safe to
    repeat. A call raises `Unavailable` at once if the registry was never reached or accepts no more connections.
    """

    def __init__(self, address: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.address = address
        self._tls = tls
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._reached = False

    async def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout + call.extra_s
        backoff = Backoff()
        connection, received = None, 0
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        connection = await self._connect()
                        received = connection.received
                        return await connection.call(call)
                    except ConnectionLost as error:
                        wait = backoff.next()
                        if not self._reached or loop.time() + wait > deadline:
                            raise Unavailable(f"registry {self.address}: {error}") from error.__cause__
                    await asyncio.sleep(wait)
        except TimeoutError:
            if connection is not None and connection.received == received:
                connection.task.cancel()  # no byte arrived: the next call connects anew
            raise Unavailable(f"{call.method}: no answer from {self.address} in time") from None

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    async def local_host(self) -> str:
        """Return the local IP address of the connection to the registry. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return str((await self._connect()).writer.get_extra_info("sockname")[0])
        except TimeoutError:
            raise Unavailable(f"no answer from {self.address} in time") from None

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

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.task.done():
                connection = _Connection(*await _connect(self.address, self._tls))
                try:
                    if self.address.token:
                        await connection.call(requests.authenticate(self.address.token))
                except BaseException:
                    await connection.close()
                    raise
                self._connection, self._reached = connection, True
            return self._connection

    @asynccontextmanager
    async def watch(self, name: str = "*") -> AsyncIterator[AsyncIterator[WatchSnapshot | Change]]:
        """Watch a service, or `*` for all: a `WatchSnapshot`, then each `Change` once and in order.

        The iterator reconnects and resumes by itself. When the registry's change log no longer reaches back to the last
        update, another `WatchSnapshot` comes, which replaces everything received before. Raises only errors that a
        repetition cannot mend: an invalid name, a wrong token.
        """
        updates = self._updates(Watcher(name, self.address.token))
        try:
            yield updates
        finally:
            await updates.aclose()

    async def _updates(self, watcher: Watcher) -> AsyncGenerator[WatchSnapshot | Change, None]:
        backoff = Backoff()
        while True:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await _connect(self.address, self._tls)
                writer.write(watcher.on_connect())
                while data := await _receive(reader, writer, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    writer.write(watcher.take_output())
                    for update in updates:
                        yield update
            except (Unavailable, OSError):
                pass
            finally:
                if writer is not None:
                    await _abort(writer)
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
    If the registry is unreachable, nothing is raised: registration is tried again. Leaving the block takes at most 1 s.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    async with open_registry(address, token=token, tls=tls) as registry:
        task = asyncio.create_task(_keep_on(keeper, registry))
        try:
            yield keeper
        finally:
            try:
                await _cancel_and_wait(task)
            finally:
                keeper.leave()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await _keep(keeper, registry)


async def _keep_on(keeper: RegistrationKeeper, registry: Registry) -> None:
    while not keeper.leaving:
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
                keeper.set_local_host(await registry.local_host())
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
