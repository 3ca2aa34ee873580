"""A small HTTP/1.1 server for JSON services: h11 decides, trio waits, sockets are read and written bare.

Every connection is one task with one time limit that moves with its phase: waiting for a request (closed
silently), reading it (408), handling it (504), writing the reply (closed). Bounds: header size (431), body
size (413), connections (503). Errors are JSON `{"error": …}`. Draining ends idle connections at once and lets
the busy ones finish their reply.

Not here, on purpose: streaming bodies, compression, TLS, websockets, HTTP/2. Sockets are used without trio's
wrapper because that costs two system calls and two reschedules a request (measured: 10,900 against 13,100/s).
"""

import errno
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, NoReturn

import h11
import trio

from services.messages import HttpError, Reply, Request, Routes, find_route, unavailable

__all__ = ["HttpError", "Limits", "Reply", "Request", "Routes", "Server", "unavailable"]

JSON_TYPE = ("content-type", "application/json")
LINGER_S = 1.0
LINGER_BYTES = 1 << 20
RECEIVE_BYTES = 1 << 16
ACCEPT_PAUSE_S = 0.1
SWEEP_S = 0.25
"""How exactly time limits are kept. One sweep costs far less than deadlines moved thrice a request."""
_LATE = {408: "the request did not arrive", 504: "there was no answer"}
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Limits(NamedTuple):
    """Bounds of one server; times are seconds, sizes bytes."""

    connections: int = 1024
    header: int = 16 * 1024
    body: int = 64 * 1024
    idle: float = 60.0
    read: float = 10.0
    handle: float = 10.0
    write: float = 10.0


class Server:
    """Serves `routes` until cancelled; `drain` ends it gently."""

    def __init__(self, routes: Routes, limits: Limits | None = None, log: Callable[[str], None] | None = None) -> None:
        self.routes = routes
        self.limits = limits or Limits()
        self.log = log or (lambda line: print(line, file=sys.stderr, flush=True))
        self.draining = False
        self.connections: set[_Connection] = set()
        self._accepting = trio.CancelScope()
        self._empty = trio.Event()
        self._busy = trio.Event()

    async def serve(
        self,
        host: str,
        port: int,
        *,
        task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Listen on every address of `host`; reports the bound addresses. OSError when it cannot bind."""
        listeners = await open_listeners(host, port)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                with self._accepting:
                    async with trio.open_nursery() as acceptors:
                        for listener in listeners:
                            acceptors.start_soon(self._accept, listener, nursery)
                        task_status.started([listener.getsockname()[:2] for listener in listeners])
                for listener in listeners:
                    listener.close()
                await trio.sleep_forever()
        finally:
            for listener in listeners:
                listener.close()
        raise AssertionError("unreachable")

    async def drain(self, grace: float) -> bool:
        """Stop accepting, end idle connections, wait up to `grace` seconds for the busy ones; whether all ended."""
        self.draining = True
        self._accepting.cancel()
        for connection in self.connections:
            connection.end_if_idle()
        if self.connections:
            with trio.move_on_after(grace):
                await self._empty.wait()
        return not self.connections

    async def respond(self, request: Request) -> Reply:
        """Run the handler; whatever goes wrong becomes a JSON error, and never more than this one reply."""
        try:
            handler, parameter = find_route(self.routes, request.method, request.path)
            return await handler(request, parameter)
        except HttpError as error:
            return error.reply
        except Exception:
            self.log(f"{request.method} {request.path!r} failed:\n{traceback.format_exc()}")
            return HttpError(500, "internal error; the service's log tells more").reply

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> NoReturn:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(64):  # then let the connections run
                try:
                    peer, _address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _FULL:
                        self.log(f"cannot accept a connection: {error.strerror}; trying again")
                        await trio.sleep(ACCEPT_PAUSE_S)
                    break  # anything else is that connection's own misfortune (accept(2): EPROTO, EHOSTUNREACH, …)
                self._admit(peer, nursery)

    async def _sweep(self) -> NoReturn:
        """End what is overdue; asleep while there is nobody."""
        while True:
            if not self.connections:
                self._busy = trio.Event()
                await self._busy.wait()
            await trio.sleep(SWEEP_S)
            now = trio.current_time()
            for connection in self.connections:
                if connection.due < now:
                    connection.scope.cancel()

    def _admit(self, peer: socket.socket, nursery: trio.Nursery) -> None:
        peer.setblocking(False)
        connection = _Connection(self, peer)
        if len(self.connections) >= self.limits.connections:
            connection.turn_away()
            return
        self.connections.add(connection)
        self._busy.set()
        nursery.start_soon(connection.run)

    def _ended(self, connection: "_Connection") -> None:
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._empty.set()


class _Connection:
    """One client: requests in, replies out, one after the other."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.header)
        self.scope = trio.CancelScope()
        self.due = trio.current_time() + server.limits.idle
        """When the present phase must be over; the server's sweep looks at it."""
        self.late = 0
        """The status to answer when it is not; 0: none, just close."""
        self.idle = True
        self.method = ""
        """Of the request being answered (empty before its head is read): a reply to HEAD carries no body."""

    def turn_away(self) -> None:
        """Over the limit: one clear error, as far as the socket takes it without waiting."""
        try:
            self.sock.send(self._encode(unavailable("too many connections").reply, close=True))
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.sock.close()

    def end_if_idle(self) -> None:
        if self.idle:
            self.scope.cancel()

    async def run(self) -> None:
        try:
            with self.scope:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while await self._exchange():
                    pass
            if self.scope.cancelled_caught and self.late:
                seconds = self.server.limits.read if self.late == 408 else self.server.limits.handle
                await self._refuse(HttpError(self.late, f"{_LATE[self.late]} within {seconds:g} s").reply)
        except OSError:
            pass  # the peer is gone; nothing is owed to it
        except Exception:
            self.server.log(f"a connection failed:\n{traceback.format_exc()}")
        finally:
            self.sock.close()
            self.server._ended(self)

    async def _exchange(self) -> bool:
        """One request and its reply; whether another may follow."""
        limits = self.server.limits
        try:
            request = await self._receive()
        except h11.RemoteProtocolError as error:
            await self._refuse(HttpError(error.error_status_hint, _one_line(error)).reply)
            return False
        except HttpError as error:
            await self._refuse(error.reply)
            return False
        if request is None:
            return False
        self.late = 504
        self.due = trio.current_time() + limits.handle
        reply = await self.server.respond(request)
        self.late = 0
        self.due = trio.current_time() + limits.write
        await self._send(self._encode(reply, close=self.server.draining))
        http = self.http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            await self._linger()
            return False
        http.start_next_cycle()
        self.method = ""
        self.idle = True
        self.due = trio.current_time() + limits.idle
        return not self.server.draining

    async def _receive(self) -> Request | None:
        """The next whole request; None when the peer closed between two."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        self.method = head.method.decode("latin-1")
        lengths = [value for key, value in head.headers if key == b"content-length"]
        if lengths and any(key == b"transfer-encoding" for key, _ in head.headers):
            # Two ends of one body: what a proxy before us took for the rest could be a request to us (RFC 9112 §6.3).
            raise HttpError(400, "either Content-Length or Transfer-Encoding, not both")
        length = lengths[0] if lengths else b"0"
        if len(length) > 15 or int(length) > self.server.limits.body:
            raise self._too_large()
        if self.http.they_are_waiting_for_100_continue:
            await self._send(self.http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = b""
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > self.server.limits.body:
                raise self._too_large()
        path, _, query = _origin_form(head.target.decode("latin-1")).partition("?")
        return Request(self.method, path, query, head.headers, body)

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the body is larger than {self.server.limits.body} bytes")

    async def _event(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await trio.lowlevel.wait_readable(self.sock)
            try:
                data = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            if self.idle and data:
                self._reading()
            self.http.receive_data(data)
        if self.idle:  # a pipelined request was waiting in the buffer
            self._reading()
        return event

    def _reading(self) -> None:
        self.idle = False
        self.late = 408
        self.due = trio.current_time() + self.server.limits.read

    def _encode(self, reply: Reply, close: bool) -> bytes:
        http = self.http
        out = http.send(_head(reply.status, len(reply.body), reply.headers, close, int(time.time()))) or b""
        if self.method != "HEAD":
            out += http.send(h11.Data(data=reply.body)) or b""
        return out + (http.send(h11.EndOfMessage()) or b"")

    async def _send(self, data: bytes) -> None:
        sent = 0
        while True:
            try:
                sent += self.sock.send(data[sent:] if sent else data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            if sent == len(data):
                return

    async def _refuse(self, reply: Reply) -> None:
        """Answer an error and close, where the protocol still allows an answer."""
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        with trio.move_on_after(LINGER_S):
            await self._send(self._encode(reply, close=True))
            await self._linger()

    async def _linger(self) -> None:
        """Read what is still coming, within bounds: closing at once would reset the reply away (RFC 9112 §9.6)."""
        self.sock.shutdown(socket.SHUT_WR)
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_S):
            while left > 0:
                await trio.lowlevel.wait_readable(self.sock)
                try:
                    data = self.sock.recv(RECEIVE_BYTES)
                except BlockingIOError:
                    continue
                if not data:
                    return
                left -= len(data)


@lru_cache(maxsize=512)
def _head(status: int, length: int, extra: tuple[tuple[str, str], ...], close: bool, now: int) -> h11.Response:
    """h11 checks every header with regular expressions; the same head is asked for thousands of times a second."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    headers = [("date", date), JSON_TYPE, ("content-length", str(length)), *extra]
    if close:
        headers.append(("connection", "close"))
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())


def _origin_form(target: str) -> str:
    """`/path` of `http://host/path`, the form proxies send (RFC 9112 §3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or "/" in scheme or "?" in scheme:
        return target
    return "/" + rest.partition("/")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or "the request is malformed"


async def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Non-blocking listening sockets on every address of `host`; with port 0 on the first one only."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    listeners: list[socket.socket] = []
    try:
        for family, address in addresses if port else addresses[:1]:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(1024)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners
