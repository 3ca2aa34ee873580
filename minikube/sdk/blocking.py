"""The SDK for blocking programs: the same methods on a plain socket, and a daemon thread that renews.

    with blocking.registered("web", 8080):
        app.run(port=8080)

Any thread may call; calls of one Registry take turns. `registration` and `watch` decide what to send and when to try again;
this module connects, sends and waits. No trio here.
"""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, result_of
from minikube.model import Address, Change
from minikube.sdk import requests
from minikube.sdk.methods import BlockingMethods
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


def _connect(address: RegistryAddress, tls: "ssl.SSLContext | None", seconds: float) -> socket.socket:
    try:
        sock = socket.create_connection((address.host, address.port), timeout=seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return tls.wrap_socket(sock, server_hostname=address.host) if tls else sock
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConnectionLost(f"cannot connect to {address}: {error.strerror or error}") from error


class _Connection:
    """An open socket and its pending calls."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._calls = ClientProtocol()

    @property
    def stale(self) -> bool:
        return self._calls.stale

    def call(self, call: Call[T], deadline: float) -> T:
        """Send a call and return its result. Raises as `Registry.send` does, and `ConnectionLost` when the connection is lost."""
        number, line = self._calls.encode(call.method, call.params)
        try:
            self.sock.settimeout(_seconds_until(deadline))
            self.sock.sendall(line)
            while True:
                self.sock.settimeout(_seconds_until(deadline))
                data = self.sock.recv(RECEIVE_BYTES)
                for incoming in self._calls.feed(data):
                    if incoming.id == number:
                        result: T = result_of(incoming, call.kind)
                        return result
                if not data or self._calls.refused:
                    raise self._calls.lost_error(f"{call.method}: the connection was lost")
        except TimeoutError:
            raise Unavailable(f"{call.method}: no answer in time") from None
        except OSError as error:
            raise self._calls.lost_error(f"{call.method}: the connection was lost: {error}") from error


def _seconds_until(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


class Registry(BlockingMethods):
    """A client of one registry. It connects at the first call, and again when the connection was lost.

    Any thread may call; only one call runs at a time. A call that a lost connection interrupted is repeated: every method is
    safe to repeat. A call raises `Unavailable` at once if the registry was never reached or accepts no more connections.
    """

    def __init__(self, address: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.address = address
        self._tls = tls
        self._connection: _Connection | None = None
        self._reached = False
        self._lock = threading.Lock()

    def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; connect, and repeat the call when the connection was lost, until `timeout` seconds
        are over."""
        deadline = time.monotonic() + timeout + call.extra_s
        backoff = Backoff()
        while True:
            with self._lock:
                try:
                    return self._connect(deadline).call(call, deadline)
                except ConnectionLost as error:
                    self.close()
                    wait = backoff.next()
                    if not self._reached or time.monotonic() + wait > deadline:
                        raise Unavailable(f"registry {self.address}: {error}") from error.__cause__
                except (NotFound, RemoteError, UsageError):
                    raise
                except BaseException:
                    self.close()  # a time-out or an interrupt: half a line may have been sent
                    raise
            time.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the registry gave the last reply from memory, because its store is unavailable."""
        return self._connection is not None and self._connection.stale

    def local_host(self) -> str:
        """Return the local IP address of the connection to the registry. Raises `Unavailable`."""
        with self._lock:
            return str(self._connect(time.monotonic() + CALL_TIMEOUT_S).sock.getsockname()[0])

    def wait_lost(self, seconds: float, stop: socket.socket) -> bool:
        """Wait until the connection is lost, `stop` is readable or `seconds` are over. Return whether the connection was lost."""
        sockets: list[socket.socket] = [stop, *([self._connection.sock] if self._connection else [])]
        return stop not in (readable := _wait_readable(sockets, seconds)) and bool(readable)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.sock.close()
            self._connection = None

    def _connect(self, deadline: float) -> _Connection:
        if self._connection is None:
            connection = _Connection(_connect(self.address, self._tls, _seconds_until(deadline)))
            try:
                if self.address.token:
                    connection.call(requests.authenticate(self.address.token), deadline)
            except BaseException:
                connection.sock.close()
                raise
            self._connection, self._reached = connection, True
        return self._connection

    @contextmanager
    def watch(self, name: str = "*") -> Iterator[Iterator[WatchSnapshot | Change]]:
        """Watch a service, or `*` for all: a `WatchSnapshot`, then each `Change` once and in order.

        The iterator reconnects and resumes by itself. When the registry's change log no longer reaches back to the last
        update, another `WatchSnapshot` comes, which replaces everything received before. Raises only errors that a
        repetition cannot mend: an invalid name, a wrong token.
        """
        updates = self._updates(Watcher(name, self.address.token))
        try:
            yield updates
        finally:
            updates.close()

    def _updates(self, watcher: Watcher) -> Generator[WatchSnapshot | Change, None, None]:
        backoff = Backoff()
        while True:
            sock: socket.socket | None = None
            try:
                sock = _connect(self.address, self._tls, CALL_TIMEOUT_S)
                sock.sendall(watcher.on_connect())
                while data := _receive(sock, watcher):
                    updates = watcher.feed(data)
                    if watcher.accepted:
                        backoff.reset()
                    if again := watcher.take_output():
                        sock.sendall(again)
                    yield from updates
            except (Unavailable, OSError):
                pass
            finally:
                if sock is not None:
                    sock.close()
            time.sleep(backoff.next())


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
    If the registry is unreachable, nothing is raised: a daemon thread tries again. Leaving the block takes about 1 s at most.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    found = find_registry(address, token)
    tls = tls or make_context(found)
    stop, stopped = socket.socketpair()
    thread = threading.Thread(
        target=_keep, args=(keeper, Registry(found, tls), stopped), name=f"registered-{keeper.name}", daemon=True
    )
    thread.start()
    try:
        yield keeper
    finally:
        keeper.leave()
        stop.close()
        # A connection of its own: the thread's may be in the middle of a call.
        with open_registry(address, token=token, tls=tls) as registry:
            _leave(keeper, registry)
        thread.join(LEAVE_S / 10)


def _keep(keeper: RegistrationKeeper, registry: Registry, stopped: socket.socket) -> None:
    """Keep the service registered until `keeper.leave` is called. Runs as the daemon thread.

    `stopped` is a socket that becomes readable when `keeper.leave` is called.
    """
    with stopped:
        while not keeper.leaving:
            try:
                _run_steps(keeper, registry, stopped)
            except Exception:
                # Any error: a thread that ends is not noticed before the instance's lease is over.
                LOGGER.exception("%s: the thread that keeps it registered failed; going on", keeper.name)
                stopped.settimeout(LAST_RETRY_S)
                with suppress(TimeoutError):
                    stopped.recv(1)
            finally:
                registry.close()


def _run_steps(keeper: RegistrationKeeper, registry: Registry, stopped: socket.socket) -> None:
    while not keeper.leaving and (step := keeper.next_step(time.monotonic())) is not None:
        if isinstance(step, float):
            if registry.wait_lost(step, stopped):
                registry.close()
                keeper.connection_lost(time.monotonic())
            continue
        try:
            if keeper.needs_local_host:
                keeper.set_local_host(registry.local_host())
                continue
            result = registry.send(step)
        except MinikubeError as error:
            if problem := keeper.failed(time.monotonic(), step, error):
                LOGGER.warning("%s", problem)
        else:
            keeper.succeeded(time.monotonic(), step, result)


def _leave(keeper: RegistrationKeeper, registry: Registry) -> None:
    deadline = time.monotonic() + LEAVE_S
    while isinstance(step := keeper.next_step(time.monotonic()), Call):
        try:
            keeper.succeeded(time.monotonic(), step, registry.send(step, _seconds_until(deadline)))
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
