"""The RPC server's sockets: accept, receive, send, enforce deadlines. It does not know methods or messages.

Fast on purpose: one task serves every client from a poller of its own (epoll or kqueue), and all else is synchronous.
With 64 clients this handles 104,000 calls/s; a trio task per client with `wait_readable` handles 54,000-61,000. What
costs is the wake-up of a task: about 10 µs per receive this way, 22-26 µs with a task for each client. TLS runs inside the
same loop on memory buffers. More than 400 lines in one piece: accepting, receiving, sending and closing share the poller, the
deadlines and the places of the clients.
"""

import contextlib
import errno
import logging
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, Final, NoReturn

import trio

from minikube.jsonrpc.messages import CLOSED_FOR_ROOM
from minikube.linux.socket_owner import peer_uid
from minikube.net.peers import RoomMaker, closed_for_room
from minikube.net.rpc.client_socket import ClientSocket
from minikube.net.rpc.connection import ServerConnection
from minikube.net.rpc.interface import RpcConnection, RpcService
from minikube.net.rpc.limits import RpcLimits
from minikube.net.tls import TlsFilter

LOGGER = logging.getLogger("minikube.rpc")

RECEIVE_BYTES: Final = 65_536
BUSY_RECEIVE_BYTES: Final = 16_384
"""Receive size while the server is busy: handling 65,536 bytes of calls takes several milliseconds."""
ACCEPTS_PER_TURN: Final = 64
ACCEPT_RETRY_S: Final = 0.1
"""Pause after running out of file descriptors or memory; new connections wait in the kernel's queue."""
TURN_S: Final = 0.005
"""Time for which clients are served before other tasks may run."""
MIN_TURN_WORK_S: Final = 0.000_025
"""The sockets are polled again after more work than this: a batch of calls takes longer, a single call does not."""
TASKS_PER_TURN: Final = 64
"""Tasks started in one turn: trio runs all tasks that are ready before it looks at sockets again."""
TASK_USAGE_BYTES: Final = 4_096
"""Usage that a call with a task of its own is charged with: it costs as much (60 µs) as this many bytes of quick calls."""
CONNECT_USAGE_BYTES: Final = 8_192
"""Usage that a new connection is charged with: in a flood of connections the clients that are there already come first."""
DEADLINE_INTERVAL_S: Final = 0.25
MAX_REFUSED: Final = 64
"""Refused connections, and those closed to make room, that are kept open for a moment: their clients can read the error."""

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


async def serve_rpc(
    service: RpcService,
    listen: tuple[str, int],
    *,
    tls: ssl.SSLContext | None = None,
    limits: RpcLimits | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the methods of `service` on `listen` (host, port; port 0 takes a free one) until cancelled.

    Report the addresses that the server listens on. Raise OSError if it cannot listen. On cancel, close every connection.
    """
    host, port = listen
    listeners = await trio.open_tcp_listeners(port, host=host)
    sockets = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    for sock in sockets:
        sock.setblocking(False)
    with contextlib.ExitStack() as stack:
        for sock in sockets:
            stack.enter_context(sock)
        # The stack closes the sockets after the nursery: trio must not wait for a descriptor that is closed.
        async with trio.open_nursery() as nursery:
            server = _Server(service, limits or RpcLimits(), tls, nursery)
            stack.callback(server.close)
            for sock in sockets:
                nursery.start_soon(server.accept_connections, sock)
            nursery.start_soon(server.run_scheduled_updates)
            nursery.start_soon(server.enforce_deadlines)
            task_status.started([sock.getsockname()[:2] for sock in sockets])
            await server.serve_sockets()
    raise AssertionError("serving ends by cancellation only")


class _Server:
    """The sockets of all clients and the tasks that serve them. Implements `ServerContext`."""

    def __init__(
        self, service: RpcService, limits: RpcLimits, tls: ssl.SSLContext | None, nursery: trio.Nursery
    ) -> None:
        self._service = service
        self._limits = limits
        self._tls = tls
        self._nursery = nursery
        self._poller = selectors.DefaultSelector()
        self._clients: dict[RpcConnection, ClientSocket] = {}
        self._room_maker = RoomMaker[ClientSocket]()
        self._refused: set[RpcConnection] = set()
        """Connections that are not counted: refused ones, and those that were closed to make room."""
        self._scheduled: deque[RpcConnection] = deque()
        self._is_scheduled = trio.Event()
        self._with_deadline: set[ClientSocket] = set()
        self._has_deadline = trio.Event()
        self._receive_bytes = RECEIVE_BYTES
        self._tasks_started = 0
        self.waiting_calls = self.slow_connections = 0

    # ------------------------------------------------------------ for connections, as documented in `ServerContext`

    @property
    def clients(self) -> int:
        return len(self._clients) - len(self._refused)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._tasks_started += 1
        self._nursery.start_soon(function, *args)

    def schedule_update(self, connection: RpcConnection) -> None:
        self._scheduled.append(connection)
        self._is_scheduled.set()

    # ------------------------------------------------------------ the server's tasks

    async def serve_sockets(self) -> NoReturn:
        """Poll the clients' sockets, and serve those that can be read or written, until cancelled."""
        descriptor = self._poller.fileno()
        select = self._poller.select
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            now = perf_counter()
            turn_end, polled, last_task = now + TURN_S, 0.0, self._tasks_started + TASKS_PER_TURN
            busy = False
            # Poll again only after some work, when more input is likely: polling costs 2 µs, a wake-up 20.
            while now - polled > MIN_TURN_WORK_S and (ready := select(0)):
                polled = now
                if busy:
                    # The client with the least usage comes first, so that it does not wait for those that flood.
                    ready.sort(key=lambda item: item[0].data.usage_at(now))
                busy = False
                for key, events in ready:
                    now = self._serve(key.data, self._receive if events & _READ else self._update)
                    if now > turn_end or self._tasks_started > last_task:
                        await trio.lowlevel.checkpoint()  # other tasks get a turn
                        busy, polled, now = True, 0.0, perf_counter()
                        turn_end, last_task = now + TURN_S, self._tasks_started + TASKS_PER_TURN
                        break
                self._receive_bytes = BUSY_RECEIVE_BYTES if busy else RECEIVE_BYTES

    async def run_scheduled_updates(self) -> NoReturn:
        """Update the connections that were passed to `schedule_update`, until cancelled."""
        while True:
            await self._is_scheduled.wait()
            self._is_scheduled = trio.Event()
            # Each connection once: replies and notifications of one moment leave with one send.
            connections = dict.fromkeys(self._scheduled)
            self._scheduled.clear()
            now = perf_counter()
            turn_end, last_task = now + TURN_S, self._tasks_started + TASKS_PER_TURN
            for connection in connections:
                if client := self._clients.get(connection):
                    now = self._serve(client, self._update)
                    if now > turn_end or self._tasks_started > last_task:
                        await trio.lowlevel.checkpoint()
                        now = perf_counter()
                        turn_end, last_task = now + TURN_S, self._tasks_started + TASKS_PER_TURN

    async def enforce_deadlines(self) -> NoReturn:
        """Close the connections whose deadline has passed, until cancelled."""
        while True:
            if not self._with_deadline:
                self._has_deadline = trio.Event()
                await self._has_deadline.wait()
            await trio.sleep(DEADLINE_INTERVAL_S)
            now = trio.current_time()
            for client in tuple(self._with_deadline):
                self._check_deadlines(client, now)

    async def accept_connections(self, listener: socket.socket) -> NoReturn:
        """Accept the listener's connections, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            turn_end = perf_counter() + TURN_S
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUT_OF_RESOURCES:
                        LOGGER.error("cannot accept a connection: %s; trying again in %s s", error, ACCEPT_RETRY_S)
                        await trio.sleep(ACCEPT_RETRY_S)
                    break  # any other error concerns this connection only
                self._add(sock, f"{address[0]}:{address[1]}")
                if perf_counter() > turn_end:
                    break  # making room for many newcomers takes a while: the other tasks get a turn

    def close(self) -> None:
        """Close every connection and the poller."""
        for client in tuple(self._clients.values()):
            self._close(client)
        self._poller.close()

    # ------------------------------------------------------------ serving one client

    def _serve(self, client: ClientSocket, step: Callable[[ClientSocket], None]) -> float:
        """Call `step(client)`, and add the tasks that it started to the client's usage. Return the time after it."""
        tasks_before = self._tasks_started
        try:
            if not client.connection.closed.is_set():
                step(client)
        except Exception as error:
            self._on_failed(client, error)
        now = perf_counter()
        if self._tasks_started != tasks_before:
            client.add_usage(TASK_USAGE_BYTES * (self._tasks_started - tasks_before), now)
        return now

    def _run_step(self, client: ClientSocket, step: Callable[[ClientSocket], None]) -> None:
        """Call `step(client)`. If it raises, log the exception and close this connection only."""
        try:
            step(client)
        except Exception as error:
            self._on_failed(client, error)

    def _on_failed(self, client: ClientSocket, error: Exception) -> None:
        LOGGER.error("the connection from %s failed; it is closed", client.connection.address, exc_info=error)
        self._close(client)

    def _add(self, sock: socket.socket, address: str) -> None:
        """Add an accepted socket to the clients. If there are too many, close another one, or refuse this one."""
        is_full = self.clients >= self._limits.connections
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = TlsFilter(self._tls) if self._tls else None
        except OSError:  # the client has reset the connection already
            sock.close()
            return
        connection = ServerConnection(self._service, self, self._limits, address, partial(peer_uid, sock))
        client = ClientSocket(sock, connection, tls)
        if is_full:
            self._make_room(client)
        client.add_usage(CONNECT_USAGE_BYTES, perf_counter())
        client.first_line_deadline = trio.current_time() + self._limits.first_line_s
        self._clients[connection] = client
        self._add_deadline(client)
        self._run_step(client, self._update)
        if connection.end_reason and len(self._refused) > MAX_REFUSED:
            self._close(client)

    def _make_room(self, newcomer: ClientSocket) -> None:
        """End the connection of another client, or refuse the newcomer's if all others are protected."""
        limit = self._limits.connections
        others = (client for connection, client in self._clients.items() if connection not in self._refused)
        client = self._room_maker.choose(others, newcomer)
        if client is None:
            newcomer.connection.end(f"too many connections: {limit:,} are open; close some and try again")
            self._refused.add(newcomer.connection)
            return
        client.connection.end(closed_for_room(limit, client.peer), CLOSED_FOR_ROOM)
        self._refused.add(client.connection)
        self._run_step(client, self._update)
        if len(self._refused) > MAX_REFUSED:
            # The error is sent, if the socket took it at once. With TLS and no handshake yet there is none to be sent.
            self._close(client)

    def _receive(self, client: ClientSocket) -> None:
        """Receive once from the client, handle the bytes, and update the connection."""
        try:
            data = client.sock.recv(self._receive_bytes)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)
            return
        ended = not data
        client.receives += 1
        client.add_usage(len(data), perf_counter())
        if client.tls is not None and data:
            try:
                data = client.tls.receive(data)
            except ssl.SSLError:
                self._flush(client)  # sends the TLS alert with the reason
                self._close(client)
                return
            ended = client.tls.ended
        if data:
            client.connection.feed(data)
        if ended:
            client.connection.feed_end()
            client.half_closed = True
            self._close_within(client, self._limits.half_closed_s)
        self._update(client)

    def _update(self, client: ClientSocket) -> None:
        """Send what is ready, process postponed input, close the connection if it is done, and set the poller's events."""
        connection = client.connection
        while self._flush(client) and connection.process_postponed():
            pass
        if connection.closed.is_set():
            return
        if connection.abort_reason:
            LOGGER.info("closed the connection from %s: %s", connection.address, connection.abort_reason)
            self._close(client)
            return
        if (connection.end_reason or client.half_closed) and not client.lingers:
            self._close_within(client, self._limits.half_closed_s)
            if connection.is_idle:
                if client.half_closed:
                    self._close(client)
                    return
                self._linger(client)
        events = 0 if client.half_closed or (connection.is_full and not connection.end_reason) else _READ
        if client.unsent:
            events |= _WRITE
        if events != client.events:
            self._set_events(client, events)

    def _flush(self, client: ClientSocket) -> bool:
        """Send queued output as far as the socket takes it. Return True if all was sent and the connection is open."""
        connection = client.connection
        try:
            while True:
                if not client.unsent:
                    data = connection.take_output()
                    client.unsent_output = len(data)
                    if client.tls is not None:
                        data = client.tls.send(data)
                    if not data:
                        connection.on_sent(client.unsent_output)
                        client.unsent_output = 0
                        client.send_deadline = inf
                        return True
                    client.unsent = data
                count = client.sock.send(client.unsent)
                client.send_deadline = inf
                if count < len(client.unsent):
                    client.unsent = memoryview(client.unsent)[count:]
                    continue
                client.unsent = b""
                connection.on_sent(client.unsent_output)
                client.unsent_output = 0
                if not connection.unsent and client.tls is None:  # TLS may have records of its own to send
                    return True
        except BlockingIOError:
            if client.send_deadline == inf:
                client.send_deadline = trio.current_time() + self._limits.stall_s
                self._add_deadline(client)
        except OSError:
            self._close(client)
        return False

    def _linger(self, client: ClientSocket) -> None:
        """Stop sending, and drain input until the client closes or `linger_s` has passed."""
        # Closing with unread input would make the kernel reset the connection: the client might not see the error.
        client.lingers = True
        self._close_within(client, self._limits.linger_s)
        if client.tls is None:
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_WR)

    def _set_events(self, client: ClientSocket, events: int) -> None:
        """Register the client's socket with the poller for `events`; 0 means none."""
        if not events:
            self._poller.unregister(client.sock)
        elif not client.events:
            self._poller.register(client.sock, events, client)
        else:
            self._poller.modify(client.sock, events, client)
        client.events = events

    def _close(self, client: ClientSocket) -> None:
        """Close the connection; do nothing if it is closed already."""
        if self._clients.pop(client.connection, None) is None:
            return
        self._refused.discard(client.connection)
        self._with_deadline.discard(client)
        if client.events:
            self._poller.unregister(client.sock)
        client.sock.close()
        client.connection.on_closed()

    # ------------------------------------------------------------ deadlines

    def _add_deadline(self, client: ClientSocket) -> None:
        self._with_deadline.add(client)
        self._has_deadline.set()

    def _close_within(self, client: ClientSocket, seconds: float) -> None:
        client.close_deadline = min(client.close_deadline, trio.current_time() + seconds)
        self._add_deadline(client)

    def _check_deadlines(self, client: ClientSocket, now: float) -> None:
        """Close the connection, or end it with an error, if one of its deadlines has passed."""
        connection = client.connection
        if connection.has_received_line or connection.end_reason:
            client.first_line_deadline = inf
        if now >= min(client.send_deadline, client.close_deadline):
            self._close(client)
        elif now >= client.first_line_deadline:
            connection.end(f"no full line within {self._limits.first_line_s:g} s of the connection's start")
            self._run_step(client, self._update)
        elif client.deadline == inf:
            self._with_deadline.discard(client)
