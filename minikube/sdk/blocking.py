"""The SDK for blocking programs: the same methods on a plain socket, and a daemon thread that renews.

    with blocking.registered("web", 8080):
        app.run(port=8080)

`registration` and `watch` decide what to send and when to try again; `blocking_connection` is a connection that threads
share; this module connects, sends and waits. No trio here. Some lines past 400: half of them document the public methods.
"""

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from minikube.defaults import TOKEN_ENV
from minikube.errors import MinikubeError, RemoteError, Unavailable
from minikube.jsonrpc.calls import ConnectionLost
from minikube.model import Address, Change
from minikube.sdk import forks, requests
from minikube.sdk.blocking_connection import RECEIVE_BYTES, Connection, open_socket, seconds_until
from minikube.sdk.methods import BlockingMethods
from minikube.sdk.peer import (
    RegistryProtocol,
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

FIRST_ANSWER_S: Final = 0.25
"""The most seconds that `registered()` waits for the registry's first answer before the block begins."""

T = TypeVar("T")


class Registry(BlockingMethods):
    """A client of one registry, or of the first that answers of several. It connects at the first call, and again when the
    connection was lost.

    Any thread may call, and no call waits for another thread's. A process that is forked opens a connection of its own.

    A call that a lost connection interrupted is repeated: every method is safe to repeat. A registry that was never
    reached, or that accepts no more connections, raises `Unavailable` at once.
    """

    def __init__(self, address: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.address = address
        self._tls = tls
        self._endpoints = Endpoints(address)
        self._connection: Connection | None = None
        self._connecting = threading.Lock()
        forks.add(self)

    def after_fork(self) -> None:
        """Leave the connection to the parent; the child opens one of its own at its first call."""
        self._connection = None
        self._connecting = threading.Lock()

    def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        try:
            return self._send(call, timeout)
        except Unavailable as error:
            if self._tls or not may_explain(self._endpoints):
                raise
            raise explain_silence(error, self._endpoints) from error.__cause__

    def _send(self, call: Call[T], timeout: float) -> T:
        deadline = time.monotonic() + timeout + call.extra_s
        attempts: Attempts | None = None
        while True:
            connection, endpoint = self._connection, self._endpoints.current
            try:
                if connection is None or connection.lost is not None:
                    connection = self._connect(endpoint, deadline)
                endpoint = connection.address
                if connection.lacks_token and call.method not in requests.LOOKUPS:
                    _authenticate_again(connection, deadline)
                return connection.call(call, deadline)
            except ConnectionLost as error:
                attempts = attempts or Attempts(self._endpoints, deadline)
                wait = attempts.failed(error, time.monotonic())
                self._endpoints.leave(endpoint)
            except RemoteError as error:
                raise version_problem(error, call.method, str(endpoint)) from None
            if wait:
                time.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    def local_name(self) -> tuple[Any, ...]:
        """Return the local end of the connection to the registry, as getsockname(2) does. Raises `Unavailable`."""
        endpoint = self._endpoints.current
        try:
            name: tuple[Any, ...] = self._connect(endpoint, time.monotonic() + CALL_TIMEOUT_S).local_name
        except ConnectionLost:
            self._endpoints.leave(endpoint)
            raise
        return name

    def wait_lost(self, seconds: float, stop: socket.socket) -> bool:
        """Wait at most `seconds`, or until `stop` is readable, for the loss of the connection; return whether it was lost."""
        connection = self._connection
        is_open = connection is not None and connection.lost is None
        sockets: list[socket.socket] = [stop, *([connection.sock] if connection and is_open else [])]
        return stop not in (readable := _wait_readable(sockets, seconds)) and bool(readable)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self, endpoint: RegistryAddress, deadline: float) -> Connection:
        connection = self._connection
        if connection is not None and connection.lost is None:
            return connection
        lock = self._connecting
        if not lock.acquire(timeout=seconds_until(deadline)):
            raise Unavailable(f"registry {self.address}: no connection in time")
        try:
            connection = self._connection
            if connection is None or connection.lost is not None:
                connection = self._open(endpoint, deadline)
                self._connection, self._endpoints.reached = connection, True
            return connection
        finally:
            lock.release()

    def _open(self, endpoint: RegistryAddress, deadline: float) -> Connection:
        seconds = self._endpoints.connect_limit_s(seconds_until(deadline))
        sock = open_socket(endpoint, self._tls, seconds)
        protocol = RegistryProtocol(str(endpoint), self._endpoints.on_answer, tls=bool(self._tls))
        connection = Connection(sock, endpoint, protocol, leaves_silent=self._endpoints.several)
        try:
            if endpoint.token:
                _authenticate(connection, endpoint, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def watch(self, name: str = "*") -> Iterator[Iterator[WatchSnapshot | Change]]:
        """Watch a service, or `*` for all: a `WatchSnapshot`, then each `Change` once and in order.

        The iterator reconnects and resumes by itself. When the registry's change log no longer reaches back to the last
        update, another `WatchSnapshot` comes, which replaces everything received before. Raises only errors that a
        repetition cannot mend: an invalid name, a wrong token.
        """
        updates = self._updates(Watcher(name, self.address, leaves_silent=self._endpoints.several))
        try:
            yield updates
        finally:
            updates.close()

    def _updates(self, watcher: Watcher) -> Generator[WatchSnapshot | Change, None, None]:
        backoff = Backoff()
        while True:
            endpoint = self._endpoints.current
            held: _WatchSocket | None = None
            try:
                sock = open_socket(endpoint, self._tls, self._endpoints.connect_limit_s(CALL_TIMEOUT_S))
                held = _WatchSocket(sock)
                sock.sendall(watcher.on_connect(str(endpoint), tls=bool(self._tls)))
                while data := _receive(sock, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    if again := watcher.take_output():
                        sock.sendall(again)
                    yield from updates
            except (Unavailable, OSError) as error:
                if problem := watcher.problem_to_log(error):
                    LOGGER.warning("%s", problem)
            finally:
                if held is not None:
                    held.sock.close()
            self._endpoints.leave(endpoint)
            time.sleep(backoff.next())


def _authenticate(connection: Connection, endpoint: RegistryAddress, deadline: float) -> None:
    """Present the token. Go on without it where the registry needs none and `may_omit_token`. Raises `RemoteError`."""
    try:
        connection.call(requests.authenticate(endpoint.token), deadline)
        connection.lacks_token = False
    except (RemoteError, Unavailable) as refusal:
        if not may_omit_token(endpoint, refusal):
            raise
        try:
            connection.call(requests.status(), deadline)
        except RemoteError:
            raise refusal from None
        connection.lacks_token = isinstance(refusal, Unavailable)
        if not connection.lacks_token:
            log_omitted_token(str(endpoint))


def _authenticate_again(connection: Connection, deadline: float) -> None:
    """Present the token that was left out for a while. Raises `Unavailable` where it still cannot be asked for."""
    _authenticate(connection, connection.address, deadline)
    if connection.lacks_token:
        raise Unavailable(f"{connection.address} cannot ask its store for the token in {TOKEN_ENV}")


class _WatchSocket:
    """The socket of a watch. In a forked child it is closed, so that the child's watch connects anew and resumes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        forks.add(self)

    def after_fork(self) -> None:
        self.sock.close()


def _wait_readable(sockets: Sequence[socket.socket], seconds: float) -> list[Any]:
    """Wait at most `seconds`, and return the readable sockets. Uses poll(2): select(2) takes no descriptor of 1,024 or more."""
    with selectors.PollSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]


def _receive(sock: socket.socket, watcher: Watcher) -> bytes:
    """Return the next bytes of the connection; empty at its end.

    Keeps the watch alive while the registry is silent. Raises `ConnectionLost` when the registry is silent too long.
    """
    while True:
        sock.settimeout(watcher.silence_limit_s)
        try:
            return sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            sock.sendall(watcher.on_silence())


@contextmanager
def open_registry(
    address: str | None = None, *, token: str | None = None, tls: "ssl.SSLContext | None" = None
) -> Iterator[Registry]:
    """Open a client of the registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555); it connects at its first
    call. Raises `UsageError` for a malformed address or TLS files that cannot be read."""
    found = find_registry(address, token)
    registry = Registry(found, tls or make_context(found))
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def registered(
    name: str | None = None,
    port: int | None = None,
    *,
    address: str | None = None,
    token: str | None = None,
    tls: "ssl.SSLContext | None" = None,
    **options: Unpack[RegisterOptions],
) -> Iterator[RegistrationKeeper]:
    """Keep a service registered while the block runs, and deregister it at the end.

    The registration is renewed, and repeated when the registry has lost it. Under a supervisor `registered()` needs no
    arguments: the environment has SERVICE_NAME, PORT, HOST and INSTANCE_ID.
    An unreachable registry raises nothing: a daemon thread tries again. A registry that refuses the first registration within
    `FIRST_ANSWER_S` raises its `RemoteError` before the block begins; later it is logged, and raised at the end of the block.
    Leaving takes at most about 1 s. In a forked child nothing is renewed, and leaving the block there does not deregister.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    found = find_registry(address, token)
    tls = tls or make_context(found)
    process = os.getpid()
    stop, stopped = socket.socketpair()
    answered = threading.Event()
    thread = threading.Thread(
        target=_keep,
        args=(keeper, Registry(found, tls), stopped, answered),
        name=f"registered-{keeper.name}",
        daemon=True,
    )
    thread.start()
    try:
        # A thread cannot end the block of another one: wait for the answer, which takes milliseconds.
        answered.wait(FIRST_ANSWER_S)
        if not keeper.refusal:
            yield keeper
        if keeper.refusal:
            raise keeper.refusal
    finally:
        if os.getpid() == process:
            keeper.leave()
            # Not only closed: a forked child may hold a copy, and the thread would not notice.
            stop.shutdown(socket.SHUT_RDWR)
            stop.close()
            # A connection of its own: the thread's may be in the middle of a call.
            with open_registry(address, token=token, tls=tls) as registry:
                _leave(keeper, registry)
            thread.join(LEAVE_S / 10)
        else:
            # A forked child leaves the block: the entry is its parent's, and so is the thread, which is not here.
            stop.close()
            stopped.close()


def _keep(keeper: RegistrationKeeper, registry: Registry, stopped: socket.socket, answered: threading.Event) -> None:
    """Keep the service registered until `keeper.leave` is called or the registry refuses it. Runs as the daemon thread.

    `stopped` is a socket that becomes readable when `keeper.leave` is called; `answered` is set after the first call.
    """
    with stopped:
        while not keeper.leaving and not keeper.refusal:
            try:
                _run_steps(keeper, registry, stopped, answered)
            except Exception:
                # Any error: a thread that ends is not noticed before the instance's lease is over.
                LOGGER.exception("%s: the thread that keeps it registered failed; going on", keeper.name)
                stopped.settimeout(LAST_RETRY_S)
                with suppress(TimeoutError):
                    stopped.recv(1)
            finally:
                registry.close()


def _run_steps(
    keeper: RegistrationKeeper, registry: Registry, stopped: socket.socket, answered: threading.Event
) -> None:
    while not keeper.leaving and (step := keeper.next_step(time.monotonic())) is not None:
        if isinstance(step, float):
            if registry.wait_lost(step, stopped):
                registry.close()
                keeper.connection_lost(time.monotonic())
            continue
        try:
            if keeper.needs_local_host:
                keeper.set_local_host(registry.local_name())
                continue
            result = registry.send(step)
        except MinikubeError as error:
            if problem := keeper.failed(time.monotonic(), step, error):
                LOGGER.warning("%s", problem)
            if keeper.refusal:
                LOGGER.error("%s is not registered: %s", keeper.name, keeper.refusal)
        else:
            keeper.succeeded(time.monotonic(), step, result)
        answered.set()


def _leave(keeper: RegistrationKeeper, registry: Registry) -> None:
    deadline = time.monotonic() + LEAVE_S
    while isinstance(step := keeper.next_step(time.monotonic()), Call):
        try:
            keeper.succeeded(time.monotonic(), step, registry.send(step, seconds_until(deadline)))
        except MinikubeError as error:
            keeper.failed(time.monotonic(), step, error)


def discover(name: str, *, address: str | None = None, token: str | None = None) -> Address:
    """Return the address of one passing instance of `name`, over a connection of its own.

    For more than one lookup use `open_registry`. Raises `NotFound` when no instance passes.
    """
    with open_registry(address, token=token) as registry:
        return registry.get(name)


@contextmanager
def watch(
    name: str = "*", *, address: str | None = None, token: str | None = None
) -> Iterator[Iterator[WatchSnapshot | Change]]:
    """Watch a service over a registry client of its own: see `Registry.watch`."""
    with open_registry(address, token=token) as registry, registry.watch(name) as updates:
        yield updates
