"""The RPC server's sockets (floor 2): accept, receive, send, time out. Refuses to know a method or a message.

One task serves every connection from a poller of its own (epoll, kqueue), because what costs is the wake-up:
about 10 µs a receive this way, 22-26 µs with a task for each connection (measured, see the benchmarks).
TLS runs inside the same loop on memory buffers. Everything below is synchronous but for three waits: for the
poller, for a peer touched by a task, and for the next deadline.
"""

import contextlib
import errno
import logging
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from time import perf_counter
from typing import Any, Final, NoReturn

import trio

from minikube.net.rpc.connection import ServerConnection
from minikube.net.rpc.interface import RpcConnection, RpcService
from minikube.net.rpc.limits import RpcLimits
from minikube.net.tls import TlsFilter

LOGGER = logging.getLogger("minikube.rpc")

RECEIVE_BYTES: Final = 65_536
ACCEPTS_AT_ONCE: Final = 64
ACCEPT_RETRY_S: Final = 0.1
"""Out of file descriptors or memory: connections wait in the kernel's queue meanwhile."""
TURN_S: Final = 0.005
"""How long connections are served before other tasks get a turn."""
WORK_S: Final = 0.000_025
"""A batch of calls takes longer than this, a single call does not."""
FLOOD_BYTES: Final = 16_384
"""How much is received at once in a flood: 65,536 bytes of calls take several milliseconds, in which nobody else is served."""
TASKS_AT_ONCE: Final = 64
"""Calls that wait, begun in one turn: trio runs all that are ready before it looks at sockets again."""
TASK_BYTES: Final = 4_096
"""Such a call costs as much as so many bytes of quick ones (60 µs)."""
FORGET_S: Final = 1.0
"""What a connection has asked for counts for half after that long."""
SWEEP_S: Final = 0.25
REFUSED_AT_ONCE: Final = 64
"""Refused connections that are kept for a moment, so that they get to read why, whatever they have sent."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


async def serve_rpc(
    methods: RpcService,
    listen: tuple[str, int],
    *,
    tls: ssl.SSLContext | None = None,
    limits: RpcLimits | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve `methods` on `listen` (host, port; port 0 takes a free one) until cancelled.

    Reports the addresses it listens on. Raises OSError when it cannot listen. On cancel every connection is closed.
    """
    host, port = listen
    listeners = await trio.open_tcp_listeners(port, host=host)
    sockets = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    for sock in sockets:
        sock.setblocking(False)
    with contextlib.ExitStack() as stack:
        for sock in sockets:
            stack.enter_context(sock)
        # Closing comes after the nursery: trio must not be waiting for a descriptor that is closed.
        async with trio.open_nursery() as nursery:
            server = _Server(methods, limits or RpcLimits(), tls, nursery)
            stack.callback(server.close)
            for sock in sockets:
                nursery.start_soon(server.accept_from, sock)
            nursery.start_soon(server.watch_touched)
            nursery.start_soon(server.watch_deadlines)
            task_status.started([sock.getsockname()[:2] for sock in sockets])
            await server.watch_poller()
    raise AssertionError("serving ends by cancellation only")


class _Connection:
    """A socket and its peer. The deadlines are on trio's clock, infinite while there is none."""

    def __init__(self, sock: socket.socket, peer: ServerConnection, tls: TlsFilter | None) -> None:
        self.sock = sock
        self.peer = peer
        self.tls = tls
        self.wire: bytes | memoryview = b""
        """What is left of the last send."""
        self.owed = 0
        """How many of the peer's bytes `wire` stands for."""
        self.events = 0
        self.half_closed = False
        self.lingers = False
        self.first_line_by = inf
        self.progress_by = inf
        self.closed_by = inf
        self.used = 0.0
        """How much it asked for lately, in bytes, as of `used_at`. Not in seconds: on a busy machine those tell of others."""
        self.used_at = 0.0

    def use(self, count: int, now: float) -> None:
        """It asked for so much."""
        self.used = self.used_by(now) + count
        self.used_at = now

    def used_by(self, now: float) -> float:
        """What it has asked for, older use counting for less and less."""
        return self.used * 0.5 ** ((now - self.used_at) / FORGET_S) if self.used else 0.0

    @property
    def deadline(self) -> float:
        return min(self.first_line_by, self.progress_by, self.closed_by)


class _Server:
    def __init__(
        self, methods: RpcService, limits: RpcLimits, tls: ssl.SSLContext | None, nursery: trio.Nursery
    ) -> None:
        self._methods = methods
        self._limits = limits
        self._tls = tls
        self._nursery = nursery
        self._poller = selectors.DefaultSelector()
        self._connections: dict[RpcConnection, _Connection] = {}
        self._refused: set[RpcConnection] = set()
        self._touched: deque[RpcConnection] = deque()
        self._touch = trio.Event()
        self._guarded: set[_Connection] = set()
        """Connections with a deadline."""
        self._guard = trio.Event()
        self._receive_bytes = RECEIVE_BYTES
        self.waiting_calls = self.slow_connections = 0
        self._begun = 0
        """Tasks begun by connections so far."""

    # ------------------------------------------------------------ what peers ask

    @property
    def clients(self) -> int:
        return len(self._connections) - len(self._refused)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._begun += 1
        self._nursery.start_soon(function, *args)

    def schedule_update(self, peer: RpcConnection) -> None:
        self._touched.append(peer)
        self._touch.set()

    # ------------------------------------------------------------ tasks

    async def watch_poller(self) -> NoReturn:
        descriptor = self._poller.fileno()
        select = self._poller.select
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            now = perf_counter()
            turn_ends, looked, tasks_end = now + TURN_S, 0.0, self._begun + TASKS_AT_ONCE
            flooded = False
            # Look again only after some work, when more is likely to have come: a look costs 2 µs, a wake-up 20.
            while now - looked > WORK_S and (ready := select(0)):
                looked = now
                if flooded:  # who used least is served first: who asks little does not wait for those who ask much
                    ready.sort(key=lambda one: one[0].data.used_by(now))
                flooded = False
                for key, events in ready:
                    now = self._serve(key.data, self._receive if events & _READ else self._settle)
                    if now > turn_ends or self._begun > tasks_end:  # a flood: other tasks get a turn
                        await trio.lowlevel.checkpoint()
                        flooded, looked, now = True, 0.0, perf_counter()
                        turn_ends, tasks_end = now + TURN_S, self._begun + TASKS_AT_ONCE
                        break
                self._receive_bytes = FLOOD_BYTES if flooded else RECEIVE_BYTES

    async def watch_touched(self) -> NoReturn:
        while True:
            await self._touch.wait()
            self._touch = trio.Event()
            # Each once: many answers and notifications of one moment leave with one send.
            peers = dict.fromkeys(self._touched)
            self._touched.clear()
            now = perf_counter()
            turn_ends, tasks_end = now + TURN_S, self._begun + TASKS_AT_ONCE
            for peer in peers:
                if connection := self._connections.get(peer):
                    now = self._serve(connection, self._settle)
                    if now > turn_ends or self._begun > tasks_end:
                        await trio.lowlevel.checkpoint()
                        now = perf_counter()
                        turn_ends, tasks_end = now + TURN_S, self._begun + TASKS_AT_ONCE

    async def watch_deadlines(self) -> NoReturn:
        while True:
            if not self._guarded:
                self._guard = trio.Event()
                await self._guard.wait()
            await trio.sleep(SWEEP_S)
            now = trio.current_time()
            for connection in tuple(self._guarded):
                self._check_deadlines(connection, now)

    async def accept_from(self, listener: socket.socket) -> NoReturn:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPTS_AT_ONCE):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        LOGGER.error("cannot accept a connection: %s; trying again in %s s", error, ACCEPT_RETRY_S)
                        await trio.sleep(ACCEPT_RETRY_S)
                    break  # anything else is that connection's own misfortune
                self._admit(sock, f"{address[0]}:{address[1]}")

    def close(self) -> None:
        """Close every connection and the poller."""
        for connection in tuple(self._connections.values()):
            self._close(connection)
        self._poller.close()

    # ------------------------------------------------------------ a connection's life

    def _serve(self, connection: _Connection, step: Callable[[_Connection], None]) -> float:
        """Take one step, on the connection's account. Returns the time."""
        begun = self._begun
        if not connection.peer.closed.is_set():
            self._guarding(connection, step)
        now = perf_counter()
        if self._begun != begun:
            connection.use(TASK_BYTES * (self._begun - begun), now)
        return now

    def _guarding(self, connection: _Connection, step: Callable[[_Connection], None]) -> None:
        """Take one step. Whatever a connection does to us ends that connection only."""
        try:
            step(connection)
        except Exception:
            LOGGER.exception("the connection from %s failed; it is closed", connection.peer.address)
            self._close(connection)

    def _admit(self, sock: socket.socket, address: str) -> None:
        full = self.clients >= self._limits.connections
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = TlsFilter(self._tls) if self._tls else None
        except OSError:  # it was reset before we looked
            sock.close()
            return
        peer = ServerConnection(self._methods, self, self._limits, address)
        if full:
            peer.end(f"too many connections: {self._limits.connections} are open; close some and try again")
            if len(self._refused) >= REFUSED_AT_ONCE:  # told, but not waited for; with TLS that would take a handshake
                with contextlib.suppress(OSError), sock:
                    sock.send(b"" if tls else peer.take_output())
                return
            self._refused.add(peer)
        connection = self._connections[peer] = _Connection(sock, peer, tls)
        connection.first_line_by = trio.current_time() + self._limits.first_line_s
        self._watch(connection)
        self._guarding(connection, self._settle)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(self._receive_bytes)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        ended = not data
        connection.use(len(data), perf_counter())
        if connection.tls is not None and data:
            try:
                data = connection.tls.receive(data)
            except ssl.SSLError:
                self._flush(connection)  # the alert that says why
                self._close(connection)
                return
            ended = connection.tls.ended
        if data:
            connection.peer.feed(data)
        if ended:
            connection.half_closed = True
            self._close_by(connection, self._limits.half_closed_s)
        self._settle(connection)

    def _settle(self, connection: _Connection) -> None:
        """Send what is ready, process what was left, end what is done, and choose what to wait for."""
        peer = connection.peer
        while self._flush(connection) and peer.catch_up():
            pass
        if peer.closed.is_set():
            return
        if peer.aborted:
            LOGGER.info("the connection from %s is ended: %s", peer.address, peer.aborted)
            self._close(connection)
            return
        if (peer.ending or connection.half_closed) and not connection.lingers:
            self._close_by(connection, self._limits.half_closed_s)
            if peer.is_idle:
                if connection.half_closed:
                    self._close(connection)
                    return
                self._linger(connection)
        events = 0 if connection.half_closed or (peer.is_full and not peer.ending) else _READ
        if connection.wire:
            events |= _WRITE
        if events != connection.events:
            self._await(connection, events)

    def _flush(self, connection: _Connection) -> bool:
        """Send as much as goes now. False when there is more than that, or the connection broke and was closed."""
        peer = connection.peer
        try:
            while True:
                if not connection.wire:
                    data = peer.take_output()
                    connection.owed = len(data)
                    if connection.tls is not None:
                        data = connection.tls.send(data)
                    if not data:
                        peer.sent(connection.owed)
                        connection.owed = 0
                        connection.progress_by = inf
                        return True
                    connection.wire = data
                count = connection.sock.send(connection.wire)
                connection.progress_by = inf
                if count < len(connection.wire):
                    connection.wire = memoryview(connection.wire)[count:]
                    continue
                connection.wire = b""
                peer.sent(connection.owed)
                connection.owed = 0
                if not peer.unsent and connection.tls is None:  # TLS may have words of its own
                    return True
        except BlockingIOError:
            if connection.progress_by == inf:
                connection.progress_by = trio.current_time() + self._limits.stall_s
                self._watch(connection)
        except OSError:
            self._close(connection)
        return False

    def _linger(self, connection: _Connection) -> None:
        """Everything is said: stop sending, and read on for a moment. Closing with unread input would make the
        kernel reset the connection, and the peer might never see why."""
        connection.lingers = True
        self._close_by(connection, self._limits.linger_s)
        if connection.tls is None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)

    def _await(self, connection: _Connection, events: int) -> None:
        if not events:
            self._poller.unregister(connection.sock)
        elif not connection.events:
            self._poller.register(connection.sock, events, connection)
        else:
            self._poller.modify(connection.sock, events, connection)
        connection.events = events

    def _close(self, connection: _Connection) -> None:
        if self._connections.pop(connection.peer, None) is None:
            return
        self._refused.discard(connection.peer)
        self._guarded.discard(connection)
        if connection.events:
            self._poller.unregister(connection.sock)
        connection.sock.close()
        connection.peer.close()

    # ------------------------------------------------------------ deadlines

    def _watch(self, connection: _Connection) -> None:
        self._guarded.add(connection)
        self._guard.set()

    def _close_by(self, connection: _Connection, seconds: float) -> None:
        connection.closed_by = min(connection.closed_by, trio.current_time() + seconds)
        self._watch(connection)

    def _check_deadlines(self, connection: _Connection, now: float) -> None:
        peer = connection.peer
        if peer.seen_line or peer.ending:
            connection.first_line_by = inf
        if now >= min(connection.progress_by, connection.closed_by):
            self._close(connection)
        elif now >= connection.first_line_by:
            peer.end(f"no full line within {self._limits.first_line_s:g} s of the connection's start")
            self._guarding(connection, self._settle)
        elif connection.deadline == inf:
            self._guarded.discard(connection)
