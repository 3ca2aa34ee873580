"""The SDK for trio programs: a registry's methods, watches, and staying registered.

    async with minikube.registered("web", 8080):
        await serve_forever()

`registration` and `watch` decide what to send and when to try again; this module connects, sends and waits.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar, Unpack

import trio

from minikube.errors import MinikubeError, Unavailable
from minikube.jsonrpc.calls import ConnectionLost
from minikube.model import Address, Change
from minikube.net.background import open_background_nursery
from minikube.net.rpc.client import RECEIVE_BYTES, RpcClient, connect
from minikube.sdk import requests
from minikube.sdk.methods import AsyncMethods
from minikube.sdk.registration import LEAVE_S, RegisterOptions, RegistrationKeeper, make_registration
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import CALL_TIMEOUT_S, Backoff, RegistryAddress, find_registry
from minikube.sdk.tls import make_context
from minikube.sdk.watch import Watcher

LOGGER = logging.getLogger("minikube")

T = TypeVar("T")


class Registry(AsyncMethods):
    """A client of one registry. It connects at the first call, and again when the connection was lost.

    Any task may call. A call that a lost connection interrupted is repeated: every method is safe to repeat. A call raises
    `Unavailable` at once if the registry was never reached or accepts no more connections.
    """

    def __init__(self, address: RegistryAddress, tls: ssl.SSLContext | None, nursery: trio.Nursery) -> None:
        self.address = address
        self._tls = tls
        self._nursery = nursery
        self._connection: RpcClient | None = None
        self._connecting = trio.Lock()
        self._reached = False

    async def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        deadline = trio.current_time() + timeout + call.extra_s
        backoff = Backoff()
        while True:
            left = max(deadline - trio.current_time(), 0.001)
            try:
                connection = await self._connect(left)
                left = max(deadline - trio.current_time(), 0.001)
                return await _ask(connection, call, left)
            except ConnectionLost as error:
                wait = backoff.next()
                if not self._reached or trio.current_time() + wait > deadline:
                    raise Unavailable(f"registry {self.address}: {error}") from error.__cause__
                await trio.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    async def local_host(self) -> str:
        """Return the local IP address of the connection to the registry. Raises `Unavailable`."""
        return (await self._connect(CALL_TIMEOUT_S)).local_host

    async def wait_lost(self) -> None:
        """Wait until the connection is lost. Without a connection, wait until cancelled."""
        if self._connection is None or self._connection.closed.is_set():
            await trio.sleep_forever()
        else:
            await self._connection.closed.wait()

    async def _connect(self, seconds: float) -> RpcClient:
        with trio.move_on_after(seconds):
            async with self._connecting:
                if self._connection is not None and not self._connection.closed.is_set():
                    return self._connection
                stream = await connect(self.address.host, self.address.port, tls=self._tls, timeout=seconds)
                connection = RpcClient(stream)
                self._nursery.start_soon(connection.read)
                try:
                    if self.address.token:
                        hello = requests.authenticate(self.address.token)
                        await connection.call(hello.method, hello.params, timeout=seconds)
                except BaseException:
                    await connection.aclose()
                    raise
                self._connection, self._reached = connection, True
                return connection
        raise ConnectionLost("no connection in time")

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
            stream: trio.abc.Stream | None = None
            try:
                stream = await connect(self.address.host, self.address.port, tls=self._tls)
                await stream.send_all(watcher.on_connect())
                while data := await _receive(stream, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    if again := watcher.take_output():
                        await stream.send_all(again)
                    for update in updates:
                        yield update
            except (Unavailable, trio.BrokenResourceError):
                pass
            finally:
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            await trio.sleep(backoff.next())


async def _ask(connection: RpcClient, call: Call[T], seconds: float) -> T:
    """Send one call on an open connection and return its result; `seconds` is the time-out.

    After a time-out without a received byte the connection is closed, so that the next call opens a new one.
    """
    received = connection.received
    try:
        result: T = await connection.call(call.method, call.params, timeout=seconds, kind=call.kind)
        return result
    except Unavailable:
        if connection.received == received:
            await connection.aclose()
        raise


async def _receive(stream: trio.abc.Stream, watcher: Watcher) -> bytes:
    """Return the next bytes of the connection; empty at its end.

    Keeps the watch alive while the registry is silent. Raises `ConnectionLost` when the registry is silent too long.
    """
    while True:
        with trio.move_on_after(watcher.silence_limit_s):
            return bytes(await stream.receive_some(RECEIVE_BYTES))
        await stream.send_all(watcher.on_silence())


@asynccontextmanager
async def open_registry(
    address: str | None = None, *, token: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Registry]:
    """Open a client of the registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555); it connects at its first
    call. Raises `UsageError` for a malformed address or TLS files that cannot be read."""
    found = find_registry(address, token)
    tls = tls or make_context(found)
    async with open_background_nursery() as nursery:
        yield Registry(found, tls, nursery)


@asynccontextmanager
async def registered(
    name: str | None = None,
    port: int | None = None,
    *,
    address: str | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    **options: Unpack[RegisterOptions],
) -> AsyncIterator[RegistrationKeeper]:
    """Keep a service registered while the block runs, and deregister it at the end.

    The registration is renewed, and repeated when the registry has lost it. Under a supervisor `registered()` needs no
    arguments: the environment has SERVICE_NAME, PORT, HOST and INSTANCE_ID.
    If the registry is unreachable, nothing is raised: registration is tried again. Leaving the block takes at most 1 s, also
    when cancelled.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    try:
        async with open_registry(address, token=token, tls=tls) as registry, open_background_nursery() as nursery:
            nursery.start_soon(_keep, keeper, registry)
            yield keeper
    finally:
        keeper.leave()
        # A connection of its own: the other may be cancelled already, or in the middle of a call.
        with trio.move_on_after(LEAVE_S, shield=True):
            async with open_registry(address, token=token, tls=tls) as registry:
                await _keep(keeper, registry)


async def _keep(keeper: RegistrationKeeper, registry: Registry) -> None:
    while (step := keeper.next_step(trio.current_time())) is not None:
        if isinstance(step, float):
            with trio.move_on_after(step):
                await registry.wait_lost()
                keeper.connection_lost(trio.current_time())
            continue
        try:
            if keeper.needs_local_host:
                keeper.set_local_host(await registry.local_host())
                continue
            result = await registry.send(step)
        except MinikubeError as error:
            if problem := keeper.failed(trio.current_time(), step, error):
                LOGGER.warning("%s", problem)
        else:
            keeper.succeeded(trio.current_time(), step, result)


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
