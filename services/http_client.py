"""A small HTTP/1.1 client for one service calling another: h11 over trio, connections kept alive per address.

It tells apart the two failures that matter to a retry: `NotSent` (the peer never got it) and `Unanswered` (it may
have). A kept connection that the peer has closed meanwhile is noticed before use. Never retries by itself.
"""

import errno
import socket
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import h11
import trio

CONNECT_TIMEOUT_S = 1.0
IDLE_MAX = 64
ANSWER_MAX = 64 * 1024
RECEIVE_BYTES = 1 << 16

Place = tuple[str, int]
"""Host and port."""


class NotSent(Exception):
    """No connection: the peer has seen nothing."""


class Unanswered(Exception):
    """Sent, and no whole answer came: the peer may have acted on it."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


class Pool:
    """Idle connections by place. One request uses one connection; `close` ends the idle ones."""

    def __init__(self, at_once: int = 128) -> None:
        self._idle: defaultdict[Place, list[_Link]] = defaultdict(list)
        self._turns: defaultdict[Place, trio.Semaphore] = defaultdict(lambda: trio.Semaphore(at_once))

    async def request(
        self,
        place: Place,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...],
        within: float,
        sending: Callable[[], None] = lambda: None,
    ) -> Answer:
        """One request without a body. NotSent, Unanswered; cancelled by the caller's deadline as well.

        `sending` is called when the peer may see something of it: a caller that is cancelled later knows as much.
        """
        async with self._turns[place]:
            link = self._kept(place) or await _connect(place)
            done = False
            sending()
            try:
                with trio.move_on_after(within):
                    answer = await link.exchange(method, target, headers)
                    done = True
                    return answer
                raise Unanswered(f"no answer within {within:g} s")
            except (OSError, h11.ProtocolError) as error:
                raise Unanswered(str(error) or type(error).__name__) from error
            finally:
                if done and link.reusable() and len(self._idle[place]) < IDLE_MAX:
                    self._idle[place].append(link)
                else:
                    link.close()

    def forget(self, place: Place) -> None:
        """Close what is kept for a place that is gone."""
        for link in self._idle.pop(place, []):
            link.close()
        turns = self._turns.get(place)
        if turns is not None and turns.value == turns.max_value:
            del self._turns[place]

    def keep(self, wanted: Callable[[Place], bool]) -> None:
        """Forget the places that are not wanted any more."""
        for place in {*self._idle, *self._turns}:
            if not wanted(place):
                self.forget(place)

    def close(self) -> None:
        self.keep(lambda _: False)

    def _kept(self, place: Place) -> "_Link | None":
        kept = self._idle[place]
        while kept:
            link = kept.pop()
            if link.quiet():
                return link
            link.close()
        return None


class _Link:
    """One connection."""

    def __init__(self, sock: socket.socket, place: Place) -> None:
        self.sock = sock
        self.host = ("host", f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}")
        self.http = h11.Connection(h11.CLIENT)

    def quiet(self) -> bool:
        """Open, with nothing to read: an end or a late word means that it cannot be used again."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def exchange(self, method: str, target: str, headers: tuple[tuple[str, str], ...]) -> Answer:
        http = self.http
        head = [self.host, ("content-length", "0"), *headers]
        data = http.send(h11.Request(method=method, target=target, headers=head)) or b""
        await self._send(data + (http.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > ANSWER_MAX:
                    raise h11.RemoteProtocolError(f"the answer is larger than {ANSWER_MAX} bytes")
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the peer closed without an answer")
        return Answer(status, body)

    def reusable(self) -> bool:
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return True

    def close(self) -> None:
        self.sock.close()

    async def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)

    async def _event(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await trio.lowlevel.wait_readable(self.sock)
            try:
                self.http.receive_data(self.sock.recv(RECEIVE_BYTES))
            except BlockingIOError:
                continue
        return event


async def _connect(place: Place) -> _Link:
    """A new connection, within its own time-out. NotSent."""
    sock = None
    try:
        with trio.move_on_after(CONNECT_TIMEOUT_S):
            found = await trio.socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)
            if code == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, errno.errorcode.get(code, "error"))
            link, sock = _Link(sock, place), None
            return link
        raise NotSent(f"{place[0]}:{place[1]} does not accept a connection within {CONNECT_TIMEOUT_S:g} s")
    except OSError as error:
        raise NotSent(f"{place[0]}:{place[1]}: {error.strerror or error}") from error
    finally:
        if sock is not None:
            sock.close()
