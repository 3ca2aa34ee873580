"""A small HTTP/1.1 server for JSON, after h11's own example for trio: h11 parses, trio waits. An error is `{"error": …}`.

Time limits: waiting for a request (the connection is closed), reading it (408), handling it (504), writing the reply
(closed). Size limits: header (431), body (413), number of connections (503). Left out: streaming, TLS, websockets, HTTP/2.
"""

import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

import h11
import msgspec
import trio

IDLE_S, READ_S, HANDLE_S, WRITE_S, LINGER_S = 60.0, 10.0, 10.0, 10.0, 1.0
CONNECTIONS_MAX, HEADER_BYTES, BODY_BYTES = 1024, 16 * 1024, 64 * 1024


class Request(NamedTuple):
    """A request with its body. `id` is the last segment of the path; header names are lower case."""

    id: str
    headers: Mapping[bytes, bytes]
    body: bytes

    def key(self) -> str | None:
        """Return the `Idempotency-Key` header, or None without one. Raise HttpError 400 if it is malformed."""
        key = self.headers.get(b"idempotency-key")
        if key is not None and not re.fullmatch(rb"[!-~]{1,128}", key):
            raise HttpError(400, "there may be one Idempotency-Key, of 1 to 128 visible ASCII characters")
        return key.decode() if key else None


Reply = tuple[int, object]  # a status, and what becomes the JSON body
Routes = Mapping[str, Mapping[str, Callable[[Request], Awaitable[Reply]]]]
"""`{"/product/{}": {"GET": handler}}`; only the last segment of a path may be `{}`."""


class HttpError(Exception):
    """Raised by a handler to reply with an error. A 503 says that nothing was done, and when to try again."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        again = (("retry-after", "1"),) if status == 503 else ()
        self.reply = status, msgspec.json.encode({"error": message}), headers + again


class Server:
    """An HTTP server for `routes`, from `run` until `stop`."""

    def __init__(self, routes: Routes) -> None:
        self.routes, self.stopping, self.connections = routes, False, set[_Connection]()
        self._accepting, self._serving = trio.CancelScope(), trio.CancelScope()

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        """Serve the listeners until `stop` is called; return when the last connection is closed."""
        with self._serving:
            async with trio.open_nursery() as connections:
                with self._accepting:
                    await trio.serve_listeners(self._serve, listeners, handler_nursery=connections)

    def stop(self, grace: float) -> None:
        """Accept no more connections, close idle ones, and cancel requests that are not finished after `grace` seconds."""
        self.stopping = True
        self._accepting.cancel()
        self._serving.deadline = trio.current_time() + grace
        for connection in self.connections:
            connection.waiting.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = _Connection(self, stream)
        self.connections.add(connection)
        with suppress(trio.BrokenResourceError, trio.TooSlowError):  # the client is gone, or does not read its reply
            await connection.run()
        self.connections.discard(connection)


class _Connection:
    """One client's connection. Its requests are handled one after the other."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self.server, self.stream, self.method, self.path = server, stream, "", ""
        self.waiting = trio.CancelScope()  # for a request, the last time
        self.http = new_http()

    async def run(self) -> None:
        if len(self.server.connections) > CONNECTIONS_MAX:
            await self._send(*HttpError(503, "too many connections").reply)
        while self.http.our_state is h11.IDLE and not self.server.stopping and await self._wait():
            try:
                await self._send(*await self._answer())
            except HttpError as error:
                await self._send(*error.reply)
            except h11.RemoteProtocolError as error:
                await self._send(*HttpError(error.error_status_hint, " ".join(str(error).split())[:200]).reply)
            if self.http.our_state is self.http.their_state is h11.DONE:
                self.http.start_next_cycle()
                self.method = ""

    async def _wait(self) -> bool:
        """Wait for the next request. Return False if the client closes or idles too long, or if the server stops."""
        early = self.http.trailing_data[0]  # it was sent together with the last one
        data = early.lstrip(b"\r\n")
        if data and data == early:
            return True
        with trio.move_on_after(IDLE_S) as self.waiting:
            while not data:  # empty lines before a request are ignored (RFC 9112 §2.2)
                received = await self.stream.receive_some()
                if not received:
                    return False
                data = bytes(received).lstrip(b"\r\n")
            if early:  # h11 would read the empty lines first
                self.http = new_http()
            self.http.receive_data(data)
            return True
        return False

    async def _answer(self) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        """Read a request, call its handler, and return the reply: status, body and extra headers. Raise HttpError."""
        with trio.move_on_after(READ_S) as reading:
            headers, body = await self._read()
        if reading.cancelled_caught:
            raise HttpError(408, f"the request did not arrive within {READ_S:g} s")
        prefix, _, segment = self.path.rpartition("/")
        methods = self.server.routes.get(self.path) or (self.server.routes.get(f"{prefix}/{{}}") if segment else None)
        if methods is None:
            raise HttpError(404, f"there is no such path: {self.path}")
        if self.method not in methods:
            raise HttpError(405, f"{self.method} is not allowed here", ("allow", ", ".join(methods)))
        try:
            with trio.move_on_after(HANDLE_S):
                status, value = await methods[self.method](Request(unquote(segment), headers, body))
                return status, msgspec.json.encode(value), ()
        except HttpError:
            raise
        except Exception:
            print(f"{self.method} {self.path!r} failed:\n{traceback.format_exc()}", flush=True)
            raise HttpError(500, "internal error; the traceback is in the service's log") from None
        raise HttpError(504, f"there was no answer within {HANDLE_S:g} s")

    async def _read(self) -> tuple[Mapping[bytes, bytes], bytes]:
        """Read a whole request and return its headers and body. Raise HttpError."""
        head = await next_event(self.http, self.stream)
        assert isinstance(head, h11.Request)
        self.method, headers, body = head.method.decode(), dict[bytes, bytes](), b""
        for name, value in head.headers:  # one that is there twice is a list (RFC 9110 §5.3)
            headers[name] = headers[name] + b", " + value if name in headers else value
        self.path = head.target.decode().partition("?")[0]
        if not self.path.startswith("/"):  # a proxy's form, `http://host/path` (RFC 9112 §3.2.2)
            self.path = "/" + self.path.partition("://")[2].partition("/")[2]
        if b"content-length" in headers and b"transfer-encoding" in headers:
            # A proxy before us may end the body elsewhere: the rest could be a request of its own (RFC 9112 §6.3).
            raise HttpError(400, "either Content-Length or Transfer-Encoding, not both")
        if head.http_version < b"1.1" and b"transfer-encoding" in headers:
            raise HttpError(400, "HTTP/1.0 has no Transfer-Encoding")  # RFC 9112 §6.1: for the same reason
        size = int(headers.get(b"content-length", 0))
        if size <= BODY_BYTES and self.http.they_are_waiting_for_100_continue:
            await self.stream.send_all(self.http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        while size <= BODY_BYTES and isinstance(event := await next_event(self.http, self.stream), h11.Data):
            body += event.data
            size = max(size, len(body))
        if size > BODY_BYTES:
            raise HttpError(413, f"the body is larger than {BODY_BYTES} bytes")
        return headers, body

    async def _send(self, status: int, body: bytes, more: tuple[tuple[str, str], ...]) -> None:
        """Send a reply; close the connection if the request was not read completely, or if the server stops."""
        close = self.server.stopping or self.http.their_state is not h11.DONE
        headers = [
            # Not email.utils.formatdate: its import is a part of the time until the service answers.
            ("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("content-type", "application/json"),
            *more,
        ]
        headers += [("content-length", str(len(body))), *([("connection", "close")] if close else [])]
        head = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
        events = [head, *([] if self.method == "HEAD" else [h11.Data(data=body)]), h11.EndOfMessage()]
        with trio.fail_after(WRITE_S):
            await self.stream.send_all(b"".join(self.http.send(event) or b"" for event in events))
        if close:
            # Closing with unread data would reset the connection and take the reply away (RFC 9112 §9.6).
            await self.stream.send_eof()
            with trio.move_on_after(LINGER_S):
                while await self.stream.receive_some():
                    pass


def new_http() -> h11.Connection:
    """Return the state of a new server connection."""
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)


async def next_event(http: h11.Connection, stream: trio.SocketStream) -> object:
    """Return the next event of an h11 connection; receive from the stream until there is one."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive_some())
    return event
