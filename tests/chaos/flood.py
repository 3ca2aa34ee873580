"""A hostile client of another user: `python flood.py WAY PORT SECONDS`. It floods a port and ends; its own errors do not matter."""

import os
import random
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

NOBODY = 65_534
CONNECTIONS = 1_500
RENEWAL = b'{"jsonrpc":"2.0","method":"Discovery.Renew","params":["nothing"],"id":1}\n'
PAGE = b'\n{"method":"Discovery.Deregister","params":["http"],"id":1}\n'
GARBAGE = (
    b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    % (len(PAGE), PAGE),
    b"GET / HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b'{"method":"Discovery.Get","params":["http"]',
    b"[" * 70_000 + b"\n",
    b"x" * 200_000,
    b'{"method":"Discovery.Deregister","params":["http"],"id":1}\n',
    b'{"method":"Discovery.Register","params":[{"Name":"http","Addr":"127.0.0.1:9","HealthCheck":"ttl:"}],"id":1}\n',
    b"\xff\xfe\x00\n\r\n",
)


def connect(port: int) -> socket.socket:
    """Return a connection that waits for nothing long."""
    sock = socket.socket()  # not create_connection: after setuid its codec may be out of reach
    sock.settimeout(0.5)
    sock.connect(("127.0.0.1", port))
    return sock


def connections(port: int, end: float) -> None:
    """Open as many connections as there can be, send half a line on each, and keep them."""
    kept: list[socket.socket] = []
    while time.monotonic() < end:
        with suppress(OSError):
            if len(kept) < CONNECTIONS:
                sock = connect(port)
                sock.sendall(b'{"method":')
                kept.append(sock)
                continue
        time.sleep(0.05)


def garbage(port: int, end: float) -> None:
    """Send what is no call, one connection after another."""
    chance = random.Random(0)
    while time.monotonic() < end:
        with suppress(OSError), connect(port) as sock:
            sock.sendall(chance.choice(GARBAGE))
            if chance.random() < 0.5:
                sock.recv(4_096)


def calls(port: int, end: float) -> None:
    """Send calls without reading a reply."""
    while time.monotonic() < end:
        with suppress(OSError), connect(port) as sock:
            while time.monotonic() < end:
                sock.sendall(RENEWAL * 100)


WAYS: dict[str, Callable[[int, float], None]] = {"connections": connections, "garbage": garbage, "calls": calls}

if __name__ == "__main__":
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    WAYS[sys.argv[1]](int(sys.argv[2]), time.monotonic() + float(sys.argv[3]))
