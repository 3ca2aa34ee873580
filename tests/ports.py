"""Ports that no process has at the moment, and that the kernel gives to none by chance."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

FIRST, LAST = 20_000, 32_000
"""Below what the kernel gives to connections, and to listeners that ask for any port."""
SHARE = 1_500


def _candidates() -> Iterator[int]:
    """Each process of a test run has a share of its own, and comes back to a port only when it has used all of it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + worker * SHARE % (LAST - FIRST)
    turn = os.getpid()
    while True:
        yield first + turn % SHARE
        turn += 1


_next = _candidates()


def free_ports(count: int) -> list[int]:
    """All different."""
    found: list[int] = []
    for port in _next:
        if len(found) == count:
            break
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def free_port() -> int:
    """One."""
    return free_ports(1)[0]


def refuse_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no port be listened on, as the kernel refuses ports below 1024 to users without the right."""

    class Socket(socket.socket):
        def bind(self, address: object, /) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Socket)
