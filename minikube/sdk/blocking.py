"""The SDK for blocking programs (floor 2): the same methods on a plain socket, and a daemon thread that renews.

    with blocking.registered("web", 8080):
        app.run(port=8080)

Any thread may call; calls of one Registry take turns. What to send and when to try again is decided in `session`,
`verbs` and `watching`, which all faces share. No trio here.
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


def _connect(target: RegistryAddress, tls: "ssl.SSLContext | None", seconds: float) -> socket.socket:
    try:
        sock = socket.create_connection((target.host, target.port), timeout=seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return tls.wrap_socket(sock, server_hostname=target.host) if tls else sock
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConnectionLost(f"cannot connect to {target}: {error.strerror or error}") from error


class _Connection:
    """An open socket and its numbered calls."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._calls = ClientProtocol()

    @property
    def stale(self) -> bool:
        return self._calls.stale

    def call(self, call: Call[T], deadline: float) -> T:
        """Raises as `Registry.do` says, and ConnectionLost when the connection is gone."""
        number, line = self._calls.encode(call.method, call.params)
        try:
            self.sock.settimeout(_left(deadline))
            self.sock.sendall(line)
            while True:
                self.sock.settimeout(_left(deadline))
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


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


class Registry:
    """A registry, connected when first needed and again when the connection is lost.

    Every call raises NotFound, RemoteError, UsageError when it is too long to send, or Unavailable after its time-out.
    All methods are safe to repeat, so a call that a lost connection interrupted is repeated; a registry that was never
    reached, or that takes no more connections, is Unavailable at once.
    """

    def __init__(self, target: RegistryAddress, tls: "ssl.SSLContext | None" = None) -> None:
        self.target = target
        self._tls = tls
        self._connection: _Connection | None = None
        self._reached = False
        self._turn = threading.Lock()

    def register(self, registration: Registration) -> str:
        """Register once; the id. `registered` also keeps it up."""
        return self.do(verbs.register(registration))

    def get(self, name: str) -> Address:
        """One passing instance's address, in turn. NotFound when none passes."""
        return self.do(verbs.get(name))

    def deregister(self, id_: str, incarnation: int | None = None) -> bool:
        """False when it was not there."""
        return self.do(verbs.deregister(id_, incarnation))

    def renew(self, id_: str, state: str = "", output: str = "") -> bool:
        """NotFound when the registry does not know it. With `state` ("passing" or "critical") and `output`, the instance
        with a `ttl:` check says how it is; critical counts at once."""
        return self.do(verbs.renew(id_, state, output))

    def instances(self, name: str | None = None) -> list[Instance]:
        """Every instance of a name, or of all."""
        return self.do(verbs.instances(name))

    def services(self) -> dict[str, dict[str, int]]:
        """Names, with how many instances are in each state."""
        return self.do(verbs.services())

    def wait(self, name: str, revision: int, timeout: float = 30.0) -> WatchSnapshot:
        """Long poll: the instances, once the name's revision is past `revision` or `timeout` seconds are over."""
        return self.do(verbs.wait(name, revision, timeout))

    def maintenance(self, id_: str, on: bool, reason: str = "") -> bool:
        """Take an instance out of `get`, or put it back."""
        return self.do(verbs.maintenance(id_, on, reason))

    def status(self) -> dict[str, Any]:
        """What the registry says of itself."""
        return self.do(verbs.status())

    def call(self, method: str, params: tuple[Any, ...] = (), timeout: float = CALL_TIMEOUT_S) -> Any:
        """Any method, decoded without a shape."""
        return self.do(verbs.other(method, params), timeout)

    def do(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Carry out a call; what all methods above do."""
        deadline = time.monotonic() + timeout + call.extra_s
        backoff = Backoff()
        while True:
            with self._turn:
                try:
                    return self._connect(deadline).call(call, deadline)
                except ConnectionLost as error:
                    self.close()
                    wait = backoff.next()
                    if not self._reached or time.monotonic() + wait > deadline:
                        raise Unavailable(f"registry {self.target}: {error}") from error.__cause__
                except (NotFound, RemoteError, UsageError):
                    raise
                except BaseException:
                    self.close()  # a time-out or an interrupt: half a line may have been sent
                    raise
            time.sleep(wait)

    @property
    def stale(self) -> bool:
        """Whether the last answer was from the registry's memory, because its store is away."""
        return self._connection is not None and self._connection.stale

    def local_host(self) -> str:
        """The address that the registry sees us at."""
        with self._turn:
            return str(self._connect(time.monotonic() + CALL_TIMEOUT_S).sock.getsockname()[0])

    def wait_lost(self, seconds: float, stop: socket.socket) -> bool:
        """Wait until the connection is lost (True), at most `seconds`, or until `stop` is readable."""
        sockets: list[socket.socket] = [stop, *([self._connection.sock] if self._connection else [])]
        return stop not in (readable := _wait_readable(sockets, seconds)) and bool(readable)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.sock.close()
            self._connection = None

    def _connect(self, deadline: float) -> _Connection:
        if self._connection is None:
            connection = _Connection(_connect(self.target, self._tls, _left(deadline)))
            try:
                if self.target.token:
                    connection.call(verbs.authenticate(self.target.token), deadline)
            except BaseException:
                connection.sock.close()
                raise
            self._connection, self._reached = connection, True
        return self._connection

    @contextmanager
    def watch(self, name: str = "*") -> Iterator[Iterator[WatchSnapshot | Change]]:
        """Updates of a name, or `*`: first a WatchSnapshot, then each Change once and in order, as long as you iterate.

        Reconnects and resumes by itself; when the registry no longer knows the way from there, another WatchSnapshot
        comes, which replaces everything. Raises only what no repetition mends (an invalid name, a wrong token).
        """
        updates = self._updates(Watcher(name, self.target.token))
        try:
            yield updates
        finally:
            updates.close()

    def _updates(self, watcher: Watcher) -> Generator[WatchSnapshot | Change, None, None]:
        backoff = Backoff()
        while True:
            sock: socket.socket | None = None
            try:
                sock = _connect(self.target, self._tls, CALL_TIMEOUT_S)
                sock.sendall(watcher.connected())
                while data := _receive(sock, watcher):
                    updates = watcher.feed(data)
                    if watcher.alive:
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
    """Those that are readable, at most `seconds` from now. By poll: select takes no descriptor from 1,024 on."""
    with selectors.PollSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]


def _receive(sock: socket.socket, watcher: Watcher) -> bytes:
    """What comes next, empty at the end. ConnectionLost when the registry gives no sign of life."""
    while True:
        sock.settimeout(watcher.patience_s)
        try:
            return sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            sock.sendall(watcher.quiet())


@contextmanager
def open_registry(
    address: str | None = None, *, token: str | None = None, tls: "ssl.SSLContext | None" = None
) -> Iterator[Registry]:
    """The registry at `address` (default: MINIKUBE_REGISTRY, else 127.0.0.1:5555). Connects when first needed."""
    target = find_target(address, token)
    registry = Registry(target, tls or make_context(target))
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
    """Be registered while the block runs: renewed, registered again when the registry forgot, deregistered at its end.

    Under a supervisor `registered()` is enough: the environment says the rest (SERVICE_NAME, PORT, HOST, INSTANCE_ID).
    Never fails because the registry is away: a daemon thread keeps trying. Leaving takes at most about 1 s.
    """
    keeper = RegistrationKeeper(make_registration(name, port, options))
    target = find_target(address, token)
    tls = tls or make_context(target)
    stop, stopped = socket.socketpair()
    thread = threading.Thread(
        target=_keep, args=(keeper, Registry(target, tls), stopped), name=f"registered-{keeper.name}", daemon=True
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
    """The thread: keep registered until told to leave, which also makes `stopped` readable."""
    with stopped:
        while not keeper.leaving:
            try:
                _follow(keeper, registry, stopped)
            except Exception:
                # Whatever it is: nobody sees a thread die, only the instance that lapses later.
                LOGGER.exception("%s: the thread that keeps it registered failed; going on", keeper.name)
                stopped.settimeout(LAST_RETRY_S)
                with suppress(TimeoutError):
                    stopped.recv(1)
            finally:
                registry.close()


def _follow(keeper: RegistrationKeeper, registry: Registry, stopped: socket.socket) -> None:
    told = ""
    while not keeper.leaving and (step := keeper.next(time.monotonic())) is not None:
        if isinstance(step, float):
            if registry.wait_lost(step, stopped):
                registry.close()
                keeper.nudge(time.monotonic())
            continue
        try:
            if keeper.needs_local_host:
                keeper.place(registry.local_host())
                continue
            result = registry.do(step)
        except MinikubeError as error:
            keeper.failed(time.monotonic(), step, error)
            if keeper.problem and keeper.problem != told:
                LOGGER.warning("%s is not registered: %s; trying again", keeper.name, keeper.problem)
                told = keeper.problem
        else:
            keeper.done(time.monotonic(), step, result)
            told = ""


def _leave(keeper: RegistrationKeeper, registry: Registry) -> None:
    deadline = time.monotonic() + LEAVE_S
    while isinstance(step := keeper.next(time.monotonic()), Call):
        try:
            keeper.done(time.monotonic(), step, registry.do(step, _left(deadline)))
        except MinikubeError as error:
            keeper.failed(time.monotonic(), step, error)


def discover(name: str, *, address: str | None = None, token: str | None = None) -> Address:
    """One passing instance of `name`, by a connection of its own. For more than one look, `open_registry`."""
    with open_registry(address, token=token) as registry:
        return registry.get(name)


@contextmanager
def watch(
    name: str = "*", *, address: str | None = None, token: str | None = None
) -> Iterator[Iterator[WatchSnapshot | Change]]:
    """`Registry.watch` without opening a registry first."""
    with open_registry(address, token=token) as registry, registry.watch(name) as updates:
        yield updates
