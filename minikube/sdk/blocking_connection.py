"""One connection of the blocking client, shared by all threads that call. It does not reconnect.

There is no thread that only reads: one of the threads that wait reads for all of them (the leader), and hands each reply to
the thread that it is for. When its own reply has come, another waiting thread leads. So a lookup takes as many switches as a
socket of its own would, and no call waits for another thread's.
"""

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from minikube.errors import Unavailable
from minikube.jsonrpc.calls import ConnectionLost, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.sdk import forks, requests
from minikube.sdk.peer import RegistryProtocol, connect_problem, is_tls_error, tls_loss
from minikube.sdk.requests import Call
from minikube.sdk.session import FAILOVER_S, RegistryAddress

if TYPE_CHECKING:
    import ssl

RECEIVE_BYTES: Final = 65_536
RECEIVE_WAIT_S: Final = 1
"""How long recv(2) waits at most, in whole seconds: after that the deadline is looked at."""

T = TypeVar("T")


def open_socket(address: RegistryAddress, tls: "ssl.SSLContext | None", seconds: float) -> socket.socket:
    """Return a socket that is connected to the registry, after the TLS handshake if there is one. Raises `ConnectionLost`."""
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
        raise connect_problem(str(address), error, seconds) from error


def seconds_until(deadline: float) -> float:
    """Return the seconds that are left, 1 ms at least: a time-out of 0 would mean "do not wait" to the socket module."""
    return max(deadline - time.monotonic(), 0.001)


class _Waiting:
    """A call that was sent, or is about to be."""

    __slots__ = ("reply", "wakeup")

    def __init__(self) -> None:
        self.reply: ServerMessage | None = None
        self.wakeup: threading.Lock | None = None
        """Held while the thread sleeps as a follower; released to wake it. None until it is one."""

    def wake(self) -> None:
        if self.wakeup is not None and self.wakeup.locked():
            self.wakeup.release()


class Connection:
    """An open socket and the calls that wait on it."""

    def __init__(
        self, sock: socket.socket, address: RegistryAddress, protocol: RegistryProtocol, *, leaves_silent: bool = False
    ) -> None:
        """`leaves_silent`: whether the connection is given up when the registry is silent for `FAILOVER_S` while calls wait."""
        self.sock = sock
        self.address = address
        self.lost: Unavailable | None = None
        """Why the connection cannot be used any more."""
        self.local_name = sock.getsockname()
        self.lacks_token = False
        """Whether the registry could not ask its store for the token, which must be presented again."""
        self._calls = protocol
        self._leaves_silent = leaves_silent
        self._is_tls = hasattr(sock, "pending")
        self._waiting: dict[int, _Waiting] = {}
        self._has_leader = False
        self._receives = 0
        self._silent_since = 0.0
        self._was_pinged = False
        self._make_locks()
        # Without TLS, recv(2) waits by itself: without a poll(2) before, a lookup takes a tenth less.
        sock.setblocking(not self._is_tls)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", RECEIVE_WAIT_S, 0))
        self._poll_input = select.poll()  # select(2) takes no descriptor of 1,024 or more
        self._poll_input.register(sock, select.POLLIN)
        forks.add(self)

    def _make_locks(self) -> None:
        self._lock = threading.Lock()
        """For all state above. Held for moments only, never while a thread waits for the socket."""
        self._send_lock = threading.Lock()
        """Held until a whole line is sent."""
        self._tls_lock = threading.Lock()
        """OpenSSL does not allow one thread to read and another to write at the same time."""

    def after_fork(self) -> None:
        """Leave the connection to the parent."""
        self._make_locks()
        self.lost = ConnectionLost("the connection belongs to the parent process")
        # The child's copy. TLS is not ended: the registry would end the parent's connection.
        self.sock.close()

    @property
    def stale(self) -> bool:
        """Whether the last reply came from the registry's memory."""
        return self._calls.stale

    def call(self, call: Call[T], deadline: float) -> T:
        """Send a call and return its result. Raises as `Registry.send` does, and `ConnectionLost` when the connection is lost."""
        waiting = _Waiting()
        with self._lock:
            if self.lost is not None:
                raise self._reason()
            number, line = self._calls.encode(call.method, call.params)
            if is_leader := not self._waiting:
                self._has_leader = True
                if self._leaves_silent:
                    self._silent_since, self._was_pinged = time.monotonic(), False
            self._waiting[number] = waiting
            receives = self._receives
        try:
            self._send(line, deadline)
            while (reply := waiting.reply) is None:
                if is_leader or (is_leader := self._wait_behind_leader(waiting, deadline)):
                    self._lead(waiting, deadline)
        except TimeoutError:
            if self._receives == receives:
                # Not a byte has come: the connection may be dead, and the next call opens another.
                self.give_up(ConnectionLost(f"{call.method}: no answer from {self.address} in time"))
            raise Unavailable(f"{call.method}: no answer from {self.address} in time") from None
        except OSError as error:
            self.give_up(self._lost_error(call.method, error))
            raise self._reason() from error
        except Unavailable as error:
            self.give_up(error)
            raise
        except BaseException:  # an interrupt: half a line may have been sent, or bytes received and not decoded
            self.give_up(ConnectionLost(f"{call.method}: interrupted"))
            raise
        finally:
            self._end(number, is_leader)
        result: T = result_of(reply, call.kind)
        return result

    def close(self) -> None:
        """Close the connection; calls of other threads raise `ConnectionLost`."""
        self.give_up(ConnectionLost("the connection was closed"))

    def give_up(self, reason: Unavailable) -> None:
        """Let all calls that wait raise `reason`, and close the socket once none uses it."""
        with self._lock:
            if self.lost is not None:
                return
            self.lost = reason
            for waiting in self._waiting.values():
                waiting.wake()
            if self._waiting:
                # The leader may be waiting for the socket: its number must not be given to another file before it stops.
                # Not SSLSocket.shutdown: it would take the TLS state from the thread that reads.
                with suppress(OSError):
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            else:
                self.sock.close()

    def _reason(self) -> Unavailable:
        """Return the reason of the loss as an error of its own: several threads raise it."""
        assert self.lost is not None
        return type(self.lost)(str(self.lost))

    def _lost_error(self, method: str, error: OSError) -> Unavailable:
        if is_tls_error(error):
            return tls_loss(str(self.address), error)
        return self._calls.lost_error(f"{method}: the connection was lost: {error}")

    def _end(self, number: int, is_leader: bool) -> None:
        with self._lock:
            del self._waiting[number]
            if is_leader:
                self._has_leader = False
            if self.lost is not None:
                if not self._waiting:
                    self.sock.close()
            elif self._waiting and not self._has_leader:
                self._promote()

    def _promote(self) -> None:
        """Wake a follower: it finds no leader and becomes it. One that is still sending looks before it waits."""
        for waiting in self._waiting.values():
            if waiting.reply is None and waiting.wakeup is not None:
                waiting.wake()
                break

    # ------------------------------------------------------------ sending

    def _send(self, line: bytes, deadline: float) -> None:
        lock = self._send_lock
        if not lock.acquire(False) and not lock.acquire(timeout=seconds_until(deadline)):
            raise TimeoutError
        try:
            sent = self._send_some(line)
            while sent < len(line):
                if not self._wait_writable(deadline):
                    if sent:  # after half a line, the registry could not read the next one
                        self.give_up(ConnectionLost("the registry takes no more bytes"))
                    raise TimeoutError
                if self.lost is not None:
                    raise self._reason()
                sent += self._send_some(line[sent:])
        finally:
            lock.release()

    def _send_some(self, data: bytes) -> int:
        try:
            if not self._is_tls:
                return self.sock.send(data, socket.MSG_DONTWAIT)
            with self._tls_lock:
                return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if self._is_tls and _wants_more(error):
                return 0
            raise

    # ------------------------------------------------------------ receiving

    def _wait_behind_leader(self, waiting: _Waiting, deadline: float) -> bool:
        """Wait until the reply has come, and return False; or until there is no leader, and return True as the new one.

        Raises `TimeoutError`, and the reason when the connection is lost.
        """
        while True:
            with self._lock:
                if waiting.reply is not None:
                    return False
                if self.lost is not None:
                    raise self._reason()
                if not self._has_leader:
                    self._has_leader = True
                    return True
                if waiting.wakeup is None:
                    waiting.wakeup = threading.Lock()
                wakeup = waiting.wakeup
                wakeup.acquire(blocking=False)
            if not wakeup.acquire(timeout=seconds_until(deadline)):
                with self._lock:
                    if waiting.reply is None and self.lost is None:
                        raise TimeoutError

    def _lead(self, waiting: _Waiting, deadline: float) -> None:
        """Read replies for all calls until the one that `waiting` waits for has come."""
        while waiting.reply is None:
            if self.lost is not None:
                raise self._reason()
            if self._wait_readable(deadline):
                self._receive()
            elif time.monotonic() >= deadline:
                raise TimeoutError
            elif self._leaves_silent:
                self._on_silence()

    def _receive(self) -> None:
        data = self._receive_some()
        if data is None:
            return
        messages = self._calls.feed(data) if data else []
        with self._lock:
            self._receives += 1
            if self._leaves_silent:
                self._silent_since, self._was_pinged = time.monotonic(), False
            for message in messages:
                found = self._waiting.get(message.id) if isinstance(message.id, int) else None
                if found is not None:
                    found.reply = message
                    if found.wakeup is not None:
                        found.wake()
        if not data or self._calls.refused:
            self.give_up(self._calls.lost_error("the connection was lost"))

    def _receive_some(self) -> bytes | None:
        """Return what arrives; empty at the end of the connection, None when nothing has come so far."""
        try:
            if not self._is_tls:
                return self.sock.recv(RECEIVE_BYTES)
            with self._tls_lock:
                return self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if self._is_tls and _wants_more(error):
                return None
            raise

    def _wait_readable(self, deadline: float) -> bool:
        """Wait until there is something to read, or until recv(2) itself may wait; return False when the time is over."""
        limit = min(deadline, self._silence_deadline()) if self._leaves_silent else deadline
        left = limit - time.monotonic()
        if self._is_tls:
            if self._has_decrypted():
                return True
        elif left > RECEIVE_WAIT_S:
            return True
        return bool(self._poll_input.poll(max(left, 0.001) * 1000))

    def _has_decrypted(self) -> bool:
        """Return whether TLS holds bytes that were decrypted already: they do not make the socket readable."""
        with self._tls_lock:
            return bool(self.sock.pending())  # type: ignore[attr-defined]

    def _wait_writable(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        return bool(poll.poll(seconds_until(deadline) * 1000))

    def _silence_deadline(self) -> float:
        return self._silent_since + (FAILOVER_S if self._was_pinged else FAILOVER_S / 2)

    def _on_silence(self) -> None:
        """Ask for a sign of life, as a long poll is silent for a good reason; give the connection up when none has come."""
        if time.monotonic() < self._silence_deadline():
            return
        if self._was_pinged:
            self.give_up(ConnectionLost(f"{self.address} has not answered for {FAILOVER_S:g} s"))
            return
        with self._lock:
            self._was_pinged = True
            ping = requests.status()
            _, line = self._calls.encode(ping.method, ping.params)
        try:
            self._send(line, time.monotonic() + FAILOVER_S / 2)
        except TimeoutError:
            self.give_up(ConnectionLost(f"{self.address} takes no more bytes"))


def _wants_more(error: OSError) -> bool:
    """Return whether TLS has only to wait for the socket (`SSLWantReadError`, `SSLWantWriteError`)."""
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")
