"""The SDK for trio programs: a registry's methods, watches, and staying registered.

    async with minikube.registered("web", 8080):
        await serve_forever()

`registration` and `watch` decide what to send and when to try again; this module connects, sends and waits.
"""

import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, Unpack

import trio

from minikube.defaults import TOKEN_ENV
from minikube.errors import MinikubeError, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.calls import ConnectionLost
from minikube.model import Address, Change
from minikube.net.background import open_background_nursery
from minikube.net.rpc import client as rpc
from minikube.net.rpc.client import RECEIVE_BYTES, RpcClient
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
    Attempts,
    Backoff,
    Endpoints,
    RegistryAddress,
    find_registry,
)
from minikube.sdk.tls import make_context
from minikube.sdk.watch import Watcher

LOGGER = logging.getLogger("minikube")

T = TypeVar("T")


async def _connect(address: RegistryAddress, tls: ssl.SSLContext | None, seconds: float) -> trio.abc.Stream:
    try:
        return await rpc.connect(address.host, address.port, tls=tls, timeout=seconds)
    except ConnectionLost as error:
        cause = error.__cause__ or TimeoutError()
        raise connect_problem(str(address), cause, seconds) from cause


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    return stream.socket


class _Connection(RpcClient):
    """An open connection, and the registry at its other end."""

    def __init__(self, stream: trio.abc.Stream, address: RegistryAddress, protocol: RegistryProtocol) -> None:
        super().__init__(stream, str(address))
        self.address = address
        self.socket = _socket_of(stream)
        self.local_name = self.socket.getsockname()
        self.lacks_token = False
        """Whether the registry could not ask its store for the token, which must be presented again."""
        self._protocol = protocol
        forks.add(self)

    def after_fork(self) -> None:
        forks.disconnect(self.socket.fileno())

    async def authenticate(self, seconds: float) -> None:
        """Present the token. Go on without it where the registry needs none and `may_omit_token`. Raises `RemoteError`."""
        hello, test = requests.authenticate(self.address.token), requests.status()
        try:
            await self.call(hello.method, hello.params, timeout=seconds)
            self.lacks_token = False
        except (RemoteError, Unavailable) as refusal:
            if not may_omit_token(self.address, refusal):
                raise
            try:
                await self.call(test.method, test.params, timeout=seconds)
            except RemoteError:
                raise refusal from None
            self.lacks_token = isinstance(refusal, Unavailable)
            if not self.lacks_token:
                log_omitted_token(str(self.address))

    async def prepare(self, call: Call[Any], seconds: float) -> None:
        """Present the token again where it was left out for a while. Raises `Unavailable` for a call that needs it."""
        if self.lacks_token and call.method not in requests.LOOKUPS:
            await self.authenticate(seconds)
            if self.lacks_token:
                raise Unavailable(f"{self.address} cannot ask its store for the token in {TOKEN_ENV}")

    async def leave_silent(self) -> None:
        """Close the connection when the registry gives no sign of life for `FAILOVER_S`."""
        while not self.closed.is_set():
            received = self.received
            await trio.sleep(FAILOVER_S / 2)
            if self.received == received:
                ping = requests.status()
                with suppress(MinikubeError):
                    await self.call(ping.method, ping.params, timeout=FAILOVER_S / 2)
                if self.received == received:
                    await self.aclose()


class Registry(AsyncMethods):
    """A client of one registry, or of the first that answers of several. It connects at the first call, and again when the
    connection was lost.

    Any task may call. It belongs to the process that opened it: in a forked child every call raises `UsageError`, as trio's
    nursery is not there. The child opens a registry of its own.

    A call that a lost connection interrupted is repeated: every method is safe to repeat. A registry that was never
    reached, or that accepts no more connections, raises `Unavailable` at once.
    """

    def __init__(self, address: RegistryAddress, tls: ssl.SSLContext | None, nursery: trio.Nursery) -> None:
        self.address = address
        self._tls = tls
        self._nursery = nursery
        self._endpoints = Endpoints(address)
        self._connection: _Connection | None = None
        self._connecting = trio.Lock()
        self._process = os.getpid()

    async def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        try:
            return await self._send(call, timeout)
        except Unavailable as error:
            if self._tls or not may_explain(self._endpoints):
                raise
            raise await trio.to_thread.run_sync(explain_silence, error, self._endpoints) from error.__cause__

    async def _send(self, call: Call[T], timeout: float) -> T:
        deadline = trio.current_time() + timeout + call.extra_s
        attempts: Attempts | None = None
        while True:
            left = max(deadline - trio.current_time(), 0.001)
            endpoint = self._endpoints.current
            try:
                connection = await self._connect(endpoint, left)
                endpoint = connection.address
                await connection.prepare(call, max(deadline - trio.current_time(), 0.001))
                left = max(deadline - trio.current_time(), 0.001)
                if not self._endpoints.several:
                    return await _ask(connection, call, left)
                async with open_background_nursery() as nursery:
                    nursery.start_soon(connection.leave_silent)
                    return await _ask(connection, call, left)
            except ConnectionLost as error:
                attempts = attempts or Attempts(self._endpoints, deadline)
                wait = attempts.failed(error, trio.current_time())
                self._endpoints.leave(endpoint)
            except RemoteError as error:
                raise version_problem(error, call.method, str(endpoint)) from None
            await trio.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a forked child of the one that opened the registry."""
        return os.getpid() != self._process

    async def local_name(self) -> tuple[Any, ...]:
        """Return the local end of the connection to the registry, as getsockname(2) does. Raises `Unavailable`."""
        endpoint = self._endpoints.current
        try:
            name: tuple[Any, ...] = (await self._connect(endpoint, CALL_TIMEOUT_S)).local_name
        except ConnectionLost:
            self._endpoints.leave(endpoint)
            raise
        return name

    async def wait_lost(self) -> None:
        """Wait until the connection is lost. Without a connection, wait until cancelled."""
        if self._connection is None or self._connection.closed.is_set():
            await trio.sleep_forever()
        else:
            await self._connection.closed.wait()

    async def _connect(self, endpoint: RegistryAddress, seconds: float) -> _Connection:
        if self.is_inherited:
            raise UsageError(
                "this Registry was opened before the process was forked — open one in the child, with"
                " minikube.open_registry() inside trio.run(), or use minikube.blocking there"
            )
        seconds = self._endpoints.connect_limit_s(seconds)
        with trio.move_on_after(seconds):
            async with self._connecting:
                if self._connection is not None and not self._connection.closed.is_set():
                    return self._connection
                stream = await _connect(endpoint, self._tls, seconds)
                protocol = RegistryProtocol(str(endpoint), self._endpoints.on_answer, tls=bool(self._tls))
                connection = _Connection(stream, endpoint, protocol)
                self._nursery.start_soon(connection.read)
                try:
                    if endpoint.token:
                        await connection.authenticate(seconds)
                except BaseException:
                    await connection.aclose()
                    raise
                self._connection, self._endpoints.reached = connection, True
                return connection
        raise ConnectionLost(f"no connection to {endpoint} in time")

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
            stream: trio.abc.Stream | None = None
            endpoint = self._endpoints.current
            try:
                stream = await _connect(endpoint, self._tls, self._endpoints.connect_limit_s(CALL_TIMEOUT_S))
                await stream.send_all(watcher.on_connect(str(endpoint), tls=bool(self._tls)))
                while data := await _receive(stream, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    if again := watcher.take_output():
                        await stream.send_all(again)
                    for update in updates:
                        yield update
            except (Unavailable, trio.BrokenResourceError) as error:
                if problem := watcher.problem_to_log(error):
                    LOGGER.warning("%s", problem)
            finally:
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            self._endpoints.leave(endpoint)
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
    An unreachable registry raises nothing: the keeper tries again. A registry that refuses the first registration ends the
    block: it is cancelled, and raises the `RemoteError`. Leaving takes at most 1 s, also when cancelled. In a forked child
    nothing is renewed, and leaving the block there does not deregister.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    process = os.getpid()
    try:
        async with open_registry(address, token=token, tls=tls) as registry, open_background_nursery() as nursery:
            nursery.start_soon(_keep_or_cancel, keeper, registry, nursery.cancel_scope)
            yield keeper
        if keeper.refusal:
            raise keeper.refusal
    finally:
        if os.getpid() == process:  # in a forked child the entry is the parent's
            keeper.leave()
            # A connection of its own: the other may be cancelled already, or in the middle of a call.
            with trio.move_on_after(LEAVE_S, shield=True):
                async with open_registry(address, token=token, tls=tls) as registry:
                    await _keep(keeper, registry)


async def _keep_or_cancel(keeper: RegistrationKeeper, registry: Registry, block: trio.CancelScope) -> None:
    """Keep the service registered; cancel the block if the registry refuses the first registration."""
    await _keep(keeper, registry)
    block.cancel()


async def _keep(keeper: RegistrationKeeper, registry: Registry) -> None:
    while (step := keeper.next_step(trio.current_time())) is not None:
        if registry.is_inherited:  # a forked child continues its parent's tasks; the entry is the parent's
            await trio.sleep_forever()
        if isinstance(step, float):
            with trio.move_on_after(step):
                await registry.wait_lost()
                keeper.connection_lost(trio.current_time())
            continue
        try:
            if keeper.needs_local_host:
                keeper.set_local_host(await registry.local_name())
                continue
            result = await registry.send(step)
        except MinikubeError as error:
            if registry.is_inherited:  # the process was forked during the call
                continue
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
