"""The SDK for asyncio programs (floor 2): the same methods on asyncio's streams. Holds no policy.

    async with aio.registered("web", 8080):
        await serve_forever()

What to send and when to try again is decided in `session`, `verbs` and `watching`, which all faces share. No trio here.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from minikube.errors import MinikubeError, Unavailable
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.model import Address, Change, Instance, Registration
from minikube.sdk import requests as verbs
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import (
    CALL_TIMEOUT_S,
    LAST_RETRY_S,
    LEAVE_S,
    Backoff,
    RegisterOptions,
    RegistrationKeeper,
    RegistryAddress,
    find_target,
    make_registration,
)
from minikube.sdk.tls import make_context
from minikube.sdk.watch import Watcher

if TYPE_CHECKING:
    import ssl

LOGGER = logging.getLogger("minikube")
RECEIVE_BYTES = 65_536

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(target: RegistryAddress, tls: "ssl.SSLContext | None") -> Streams:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await asyncio.open_connection(target.host, target.port, ssl=tls)
    except OSError as error:  # TimeoutError is one
        raise ConnectionLost(f"cannot connect to {target}: {error.strerror or error}") from error


async def _abort(writer: asyncio.StreamWriter) -> None:
    """Close at once, and wait until the socket is closed: the loop may end right after."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task of ours and see it end; what it raised is raised. To await it would take our own cancellation for its."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


class _Connection:
    """Open streams, the calls under way, and the task that reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._calls = ClientProtocol()
        self._waiting: dict[int, asyncio.Future[ServerMessage]] = {}
        self.received = 0
        """How often something came: a call's time-out tells of a dead connection where nothing did meanwhile."""
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
            pass  # whoever waits for an answer is told
        finally:
            self.writer.transport.abort()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._calls.lost_error("the connection was lost"))

    async def close(self) -> None:
        try:
            await _end(self.task)
        finally:
            await _abort(self.writer)


class Registry:
    """A registry, connected when first needed and again when the connection is lost. Any task of the loop may call.

    Every call raises NotFound, RemoteError, UsageError when it is too long to send, or Unavailable after its time-out.
    All methods are safe to repeat, so a call that a lost connection interrupted is repeated; a registry that was never
    reached, or that takes no more connections, is Unavailable at once.
    """

    def __init__(self, target: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.target = target
        self._tls = tls
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._reached = False

    async def register(self, registration: Registration) -> str:
        """Register once; the id. `registered` also keeps it up."""
        return await self.do(verbs.register(registration))

    async def get(self, name: str) -> Address:
        """One passing instance's address, in turn. NotFound when none passes."""
        return await self.do(verbs.get(name))

    async def deregister(self, id_: str, incarnation: int | None = None) -> bool:
        """False when it was not there."""
        return await self.do(verbs.deregister(id_, incarnation))

    async def renew(self, id_: str, state: str = "", output: str = "") -> bool:
        """NotFound when the registry does not know it. With `state` ("passing" or "critical") and `output`, the instance
        with a `ttl:` check says how it is; critical counts at once."""
        return await self.do(verbs.renew(id_, state, output))

    async def instances(self, name: str | None = None) -> list[Instance]:
        """Every instance of a name, or of all."""
        return await self.do(verbs.instances(name))

    async def services(self) -> dict[str, dict[str, int]]:
        """Names, with how many instances are in each state."""
        return await self.do(verbs.services())

    async def wait(self, name: str, revision: int, timeout: float = 30.0) -> WatchSnapshot:
        """Long poll: the instances, once the name's revision is past `revision` or `timeout` seconds are over."""
        return await self.do(verbs.wait(name, revision, timeout))

    async def maintenance(self, id_: str, on: bool, reason: str = "") -> bool:
        """Take an instance out of `get`, or put it back."""
        return await self.do(verbs.maintenance(id_, on, reason))

    async def status(self) -> dict[str, Any]:
        """What the registry says of itself."""
        return await self.do(verbs.status())

    async def call(self, method: str, params: tuple[Any, ...] = (), timeout: float = CALL_TIMEOUT_S) -> Any:
        """Any method, decoded without a shape."""
        return await self.do(verbs.other(method, params), timeout)

    async def do(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Carry out a call; what all methods above do."""
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
                            raise Unavailable(f"registry {self.target}: {error}") from error.__cause__
                    await asyncio.sleep(wait)
        except TimeoutError:
            if connection is not None and connection.received == received:
                connection.task.cancel()  # nothing at all came: the next call finds out who is there
            raise Unavailable(f"{call.method}: no answer from {self.target} in time") from None

    @property
    def stale(self) -> bool:
        """Whether the last answer was from the registry's memory, because its store is away."""
        return self._connection is not None and self._connection.stale

    async def local_host(self) -> str:
        """The address that the registry sees us at."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return str((await self._connect()).writer.get_extra_info("sockname")[0])
        except TimeoutError:
            raise Unavailable(f"no answer from {self.target} in time") from None

    async def wait_lost(self, seconds: float) -> bool:
        """Wait until the connection is lost (True), at most `seconds`."""
        task = self._connection.task if self._connection else None
        if task is None or task.done():
            await asyncio.sleep(seconds)
            return False
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return bool(done)

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.task.done():
                connection = _Connection(*await _connect(self.target, self._tls))
                try:
                    if self.target.token:
                        await connection.call(verbs.authenticate(self.target.token))
                except BaseException:
                    await connection.close()
                    raise
                self._connection, self._reached = connection, True
            return self._connection

    @asynccontextmanager
    async def watch(self, name: str = "*") -> AsyncIterator[AsyncIterator[WatchSnapshot | Change]]:
        """Updates of a name, or `*`: first a WatchSnapshot, then each Change once and in order, as long as you iterate.

        Reconnects and resumes by itself; when the registry no longer knows the way from there, another WatchSnapshot
        comes, which replaces everything. Raises only what no repetition mends (an invalid name, a wrong token).
        """
        updates = self._updates(Watcher(name, self.target.token))
        try:
            yield updates
        finally:
            await updates.aclose()

    async def _updates(self, watcher: Watcher) -> AsyncGenerator[WatchSnapshot | Change, None]:
        backoff = Backoff()
        while True:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await _connect(self.target, self._tls)
                writer.write(watcher.connected())
                while data := await _receive(reader, writer, watcher):
                    updates = watcher.feed(data)
                    if watcher.alive:
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
    """What comes next, empty at the end. ConnectionLost when the registry gives no sign of life."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(watcher.patience_s):
                return await reader.read(RECEIVE_BYTES)
        writer.write(watcher.quiet())


@asynccontextmanager
async def open_registry(
    address: str | None = None, *, token: str | None = None, tls: "ssl.SSLContext | None" = None
) -> AsyncIterator[Registry]:
    """The registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555). Connects when first needed."""
    target = find_target(address, token)
    registry = Registry(target, tls or make_context(target))
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
    """Be registered while the block runs: renewed, registered again when the registry forgot, deregistered at its end.

    Under a supervisor `registered()` is enough: the environment says the rest (SERVICE_NAME, PORT, HOST, INSTANCE_ID).
    Never fails because the registry is away: it keeps trying. Leaving takes at most 1 s.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    async with open_registry(address, token=token, tls=tls) as registry:
        task = asyncio.create_task(_keep_on(keeper, registry))
        try:
            yield keeper
        finally:
            try:
                await _end(task)
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
            # Whatever it is: nobody sees a task die before the block ends, only the instance that lapses.
            LOGGER.exception("%s: the task that keeps it registered failed; going on", keeper.name)
            await asyncio.sleep(LAST_RETRY_S)


async def _keep(keeper: RegistrationKeeper, registry: Registry) -> None:
    clock = asyncio.get_running_loop().time
    told = ""
    while (step := keeper.next(clock())) is not None:
        if isinstance(step, float):
            if await registry.wait_lost(step):
                keeper.nudge(clock())
            continue
        try:
            if keeper.needs_local_host:
                keeper.place(await registry.local_host())
                continue
            result = await registry.do(step)
        except MinikubeError as error:
            keeper.failed(clock(), step, error)
            if keeper.problem and keeper.problem != told:
                LOGGER.warning("%s is not registered: %s; trying again", keeper.name, keeper.problem)
                told = keeper.problem
        else:
            keeper.done(clock(), step, result)
            told = ""


async def discover(name: str, *, address: str | None = None, token: str | None = None) -> Address:
    """One passing instance of `name`, by a connection of its own. For more than one look, `open_registry`."""
    async with open_registry(address, token=token) as registry:
        return await registry.get(name)


@asynccontextmanager
async def watch(
    name: str = "*", *, address: str | None = None, token: str | None = None
) -> AsyncIterator[AsyncIterator[WatchSnapshot | Change]]:
    """`Registry.watch` without opening a registry first."""
    async with open_registry(address, token=token) as registry, registry.watch(name) as updates:
        yield updates
