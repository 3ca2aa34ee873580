"""The SDK for trio programs (floor 2): a registry's methods, watches, and staying registered. Holds no policy.

    async with minikube.registered("web", 8080):
        await serve_forever()

What to send and when to try again is decided in `session`, `verbs` and `watching`, which all faces share.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, Unpack

import trio

from minikube.errors import MinikubeError, Unavailable
from minikube.jsonrpc.calls import ConnectionLost
from minikube.model import Address, Change, Instance, Registration
from minikube.net.background import open_background_nursery
from minikube.net.rpc.client import RECEIVE_BYTES, RpcClient, connect
from minikube.sdk import requests as verbs
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import (
    CALL_TIMEOUT_S,
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

LOGGER = logging.getLogger("minikube")

T = TypeVar("T")


class Registry:
    """A registry, connected when first needed and again when the connection is lost. Any task may call at any time.

    Every call raises NotFound, RemoteError, UsageError when it is too long to send, or Unavailable after its time-out.
    All methods are safe to repeat, so a call that a lost connection interrupted is repeated; a registry that was never
    reached, or that takes no more connections, is Unavailable at once.
    """

    def __init__(self, target: RegistryAddress, tls: ssl.SSLContext | None, nursery: trio.Nursery) -> None:
        self.target = target
        self._tls = tls
        self._nursery = nursery
        self._connection: RpcClient | None = None
        self._connecting = trio.Lock()
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
                    raise Unavailable(f"registry {self.target}: {error}") from error.__cause__
                await trio.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the last answer was from the registry's memory, because its store is away."""
        return self._connection is not None and self._connection.stale

    async def local_host(self) -> str:
        """The address that the registry sees us at."""
        return (await self._connect(CALL_TIMEOUT_S)).local_host

    async def wait_lost(self) -> None:
        """Until the connection is lost; for ever when there is none."""
        if self._connection is None or self._connection.closed.is_set():
            await trio.sleep_forever()
        else:
            await self._connection.closed.wait()

    async def _connect(self, seconds: float) -> RpcClient:
        with trio.move_on_after(seconds):
            async with self._connecting:
                if self._connection is not None and not self._connection.closed.is_set():
                    return self._connection
                stream = await connect(self.target.host, self.target.port, tls=self._tls, timeout=seconds)
                connection = RpcClient(stream)
                self._nursery.start_soon(connection.read)
                try:
                    if self.target.token:
                        hello = verbs.authenticate(self.target.token)
                        await connection.call(hello.method, hello.params, timeout=seconds)
                except BaseException:
                    await connection.aclose()
                    raise
                self._connection, self._reached = connection, True
                return connection
        raise ConnectionLost("no connection in time")

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
            stream: trio.abc.Stream | None = None
            try:
                stream = await connect(self.target.host, self.target.port, tls=self._tls)
                await stream.send_all(watcher.connected())
                while data := await _receive(stream, watcher):
                    updates = watcher.feed(data)
                    if watcher.alive:
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
    """One call. A connection on which nothing at all came in its time is closed: the next call finds out who is there."""
    received = connection.received
    try:
        result: T = await connection.call(call.method, call.params, timeout=seconds, kind=call.kind)
        return result
    except Unavailable:
        if connection.received == received:
            await connection.aclose()
        raise


async def _receive(stream: trio.abc.Stream, watcher: Watcher) -> bytes:
    """What comes next, empty at the end. ConnectionLost when the registry gives no sign of life."""
    while True:
        with trio.move_on_after(watcher.patience_s):
            return bytes(await stream.receive_some(RECEIVE_BYTES))
        await stream.send_all(watcher.quiet())


@asynccontextmanager
async def open_registry(
    address: str | None = None, *, token: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Registry]:
    """The registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555). Connects when first needed."""
    target = find_target(address, token)
    tls = tls or make_context(target)
    async with open_background_nursery() as nursery:
        yield Registry(target, tls, nursery)


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
    """Be registered while the block runs: renewed, registered again when the registry forgot, deregistered at its end.

    Under a supervisor `registered()` is enough: the environment says the rest (SERVICE_NAME, PORT, HOST, INSTANCE_ID).
    Never fails because the registry is away: it keeps trying. Leaving takes at most 1 s, cancelled or not.
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
    told = ""
    while (step := keeper.next(trio.current_time())) is not None:
        if isinstance(step, float):
            with trio.move_on_after(step):
                await registry.wait_lost()
                keeper.nudge(trio.current_time())
            continue
        try:
            if keeper.needs_local_host:
                keeper.place(await registry.local_host())
                continue
            result = await registry.do(step)
        except MinikubeError as error:
            keeper.failed(trio.current_time(), step, error)
            if keeper.problem and keeper.problem != told:
                LOGGER.warning("%s is not registered: %s; trying again", keeper.name, keeper.problem)
                told = keeper.problem
        else:
            keeper.done(trio.current_time(), step, result)
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
