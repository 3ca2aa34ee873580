"""The socket of one client of the RPC server, with its deadlines and its recent usage. It does no I/O by itself."""

import socket
from math import inf
from time import perf_counter
from typing import Any, Final

from minikube.net.peers import Peer
from minikube.net.rpc.connection import ServerConnection
from minikube.net.tls import TlsFilter

USAGE_HALF_LIFE_S: Final = 1.0
"""Bytes that a client sent this long ago count for half in its usage."""


class ClientSocket:
    """A client's socket and its `ServerConnection`. Deadlines are on trio's clock; `inf` means that there is none."""

    def __init__(self, sock: socket.socket, connection: ServerConnection, tls: TlsFilter | None) -> None:
        self.sock = sock
        self.connection = connection
        self.tls = tls
        self.unsent: bytes | memoryview = b""
        """The bytes that the last send did not take; ciphertext if the connection uses TLS."""
        self.unsent_output = 0
        """Size of the connection's output (before TLS) that `unsent` was made from."""
        self.events = 0
        """Events that the poller watches the socket for."""
        self.half_closed = False
        """Whether the client has closed its sending side."""
        self.receives = 0
        """Number of receives so far."""
        self.lingers = False
        """Whether everything is sent and input is only drained until the client closes."""
        self.first_line_deadline = inf
        self.send_deadline = inf
        self.close_deadline = inf
        self._usage = 0.0
        self._usage_time = perf_counter()

    # ------------------------------------------------------------ `SharedConnection`

    @property
    def peer(self) -> Peer:
        return self.connection.peer

    @property
    def is_open(self) -> bool:
        return not self.connection.closed.is_set()

    @property
    def is_protected(self) -> bool:
        return self.connection.is_protected

    @property
    def priority(self) -> tuple[Any, ...]:
        # First those that only wait for their end, then those that never sent more than a line and sit idle.
        return self.connection.has_tasks, not self.lingers, self.receives > 1, self._usage_time

    # ------------------------------------------------------------ usage

    def add_usage(self, count: float, now: float) -> None:
        """Add `count` bytes to the client's usage. `now` is in seconds of `perf_counter`."""
        # Bytes, not seconds: on a busy machine seconds measure what other processes do.
        if self._usage:  # `usage_at`, written out: this runs for each receive
            count += self._usage * 0.5 ** ((now - self._usage_time) / USAGE_HALF_LIFE_S)
        self._usage = count
        self._usage_time = now

    def usage_at(self, now: float) -> float:
        """Return the client's usage in bytes; it halves every `USAGE_HALF_LIFE_S`."""
        return self._usage * 0.5 ** ((now - self._usage_time) / USAGE_HALF_LIFE_S) if self._usage else 0.0

    @property
    def deadline(self) -> float:
        """The earliest of the client's deadlines."""
        return min(self.first_line_deadline, self.send_deadline, self.close_deadline)
