"""TCP and UDP ports of this machine: whether one is free, which process has it, and any free one.

It refuses to reserve a port: a port that is free now can be taken before a program listens on it.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minikube.linux.processes import command_name
from minikube.manifest.spec import Protocol

NOT_FREE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

TCP_LISTEN = "0A"
"""The state of a socket that listens, in the tables of `/proc/net` (tcp_states.h)."""

SOCKET_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Obstacle(NamedTuple):
    """Why an address cannot be listened on."""

    text: str
    part: str
    """The part of the address that has to change: `host` or `port`."""
    remedy: str = ""
    """What helps besides, to be appended."""
    lacks_right: bool = False
    """Whether only a right of this process is missing."""


def find_obstacle(
    host: str,
    port: int,
    describe: Callable[[int, str], str] = lambda pid, name: name,
    protocol: Protocol = "tcp",
) -> Obstacle | None:
    """Return why this process cannot listen on an address; None where it can.

    `describe` returns the words for the process, by pid and name, that has the port. Raises OSError where no descriptor is left
    to find it out.
    """
    try:
        error = bind_error(host, port, protocol)
    except socket.gaierror as unknown:
        return Obstacle(f"host {host} cannot be resolved ({unknown.strerror})", "host")
    if error is None:
        return None
    if error.errno == errno.EADDRNOTAVAIL:
        return Obstacle(f"{host} is no address of this machine", "host")
    if error.errno == errno.EACCES:
        allowed = "only root and programs with the capability cap_net_bind_service"
        return Obstacle(f"{allowed} may listen on port {port}", "port", ", or give the right", lacks_right=True)
    if error.errno != errno.EADDRINUSE or not port:
        raise error
    owner = port_owner(port, protocol)
    holder = f"pid {owner[0]} ({describe(*owner)})" if owner else "another process"
    return Obstacle(f"port {port} is taken by {holder}", "port", " or stop it")


def is_free(host: str, port: int, protocol: Protocol = "tcp") -> bool:
    """Return whether a port can be listened on now. Raises OSError where that cannot be found out (no descriptor is left)."""
    try:
        error = bind_error(host, port, protocol)
    except socket.gaierror:
        return False
    if error is not None and error.errno not in NOT_FREE:
        raise error
    return error is None


def bind_error(host: str, port: int, protocol: Protocol = "tcp") -> OSError | None:
    """Return the error that listening on a port would raise; None where it would succeed.

    Raises `socket.gaierror` for an unknown host.
    """
    family, address = _first_address(host, port, protocol)
    try:
        with socket.socket(family, SOCKET_TYPES[protocol]) as sock:
            # As servers do: a port whose last connections are in TIME_WAIT is free. Two UDP sockets with this option may
            # share a port, and then a taken one would look free.
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error
    return None


def _first_address(host: str, port: int, protocol: Protocol) -> tuple[socket.AddressFamily, Any]:
    """Return the family and the address on which a server of this host listens. Raises `socket.gaierror`."""
    try:
        # The first address only, as servers that take one address do.
        family, _, _, _, address = socket.getaddrinfo(host, port, type=SOCKET_TYPES[protocol])[0]
    except UnicodeError:  # a label that is longer than 63 characters
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    return family, address


def free_port(host: str, used: frozenset[int], protocol: Protocol = "tcp") -> int:
    """Return a free port that the kernel chooses and that is not in `used`."""
    family, address = _first_address(host, 0, protocol)
    while True:
        with socket.socket(family, SOCKET_TYPES[protocol]) as sock:
            sock.bind(address)
            port = int(sock.getsockname()[1])
        if port not in used:
            return port


def port_owner(port: int, protocol: Protocol = "tcp") -> tuple[int, str] | None:
    """Return pid and name of the process that listens on a port of this machine; None where `/proc` does not show it."""
    inodes = set(_listening_sockets(port, protocol))
    if not inodes:
        return None
    # The kernel has no index from a socket to its process: all descriptors of all processes are looked at.
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{name}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/fd/{descriptor}") in inodes:
                        return int(name), command_name(int(name))
    return None


def listening_ports() -> dict[int, bool]:
    """Return the TCP ports that programs of this machine listen on → whether one of them listens on all addresses."""
    found: dict[int, bool] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split(maxsplit=4)
                if fields[3] != TCP_LISTEN:
                    break  # the kernel lists connections behind the sockets that listen
                address, _, port = fields[1].rpartition(":")
                number = int(port, 16)
                found[number] = found.get(number, False) or not address.strip("0")
    return found


def _listening_sockets(port: int, protocol: Protocol) -> Iterator[str]:
    """Yield the sockets that listen on a port, spelled as the links in `/proc/PID/fd` are: `socket:[12345]`."""
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                # UDP has no such state; the port is hexadecimal, behind the address.
                if (fields[3] == TCP_LISTEN or protocol == "udp") and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"
