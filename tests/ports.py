"""Ports that nobody has at the moment."""

import socket


def free_ports(count: int) -> list[int]:
    """All different, since they are free at the same time."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def free_port() -> int:
    """One."""
    return free_ports(1)[0]
