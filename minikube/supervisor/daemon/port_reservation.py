"""Reservations of ports among supervisors that start at the same time: until the registry listens, its port looks free to others.

A reservation is an abstract socket of this network namespace, named after the address. The kernel gives it to one process only, and
takes it back when that process ends. It refuses to hold the port itself: another process has to listen on it.
"""

import socket

from minikube.manifest import HostPort
from minikube.model import normalize_host


class PortReservations:
    """The addresses that this supervisor has reserved. Close it when the supervisor ends."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def reserve(self, address: HostPort) -> bool:
        """Reserve an address of this machine; return whether no other supervisor has it.

        The same port of another address is another one: programs on both can listen at the same time.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # The kernel takes 108 bytes; a host name may be longer.
            sock.bind(f"\0minikube-listen-{address.port}-{normalize_host(address.host)}".encode()[:108])
        except OSError:
            sock.close()
            return False
        self._sockets.append(sock)
        return True

    def close(self) -> None:
        """Give up all reservations."""
        for sock in self._sockets:
            sock.close()
