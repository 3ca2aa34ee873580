"""TCP ports of this machine: whether one is free, which process has it, and the choice of a port for an instance.

It refuses to reserve a port: a port that is free now can be taken before the instance listens on it.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minikube.errors import PortTaken
from minikube.linux.processes import command_name
from minikube.manifest import ServiceSpec

NOT_FREE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


def choose_port(spec: ServiceSpec, last: int, used: frozenset[int]) -> int:
    """Return the port for an instance: the manifest's, or that of its last start, or a free one; 0 where it has none.

    `last` is the port of the last start (0: none), `used` are the other instances' ports. Raises `PortTaken`, and OSError
    as `is_free` does. Where the port is taken before the instance listens on it, the start fails and is tried again.
    """
    if not spec.port and not spec.auto_port:
        return 0
    # Port 0 for one that is chosen: it finds a host on which no port could be listened on.
    obstacle = find_obstacle(spec.host, 0 if spec.auto_port else spec.port)
    # The right that this process lacks, the program may have: file capabilities, setuid, sudo.
    if obstacle is not None and not obstacle.lacks_right:
        raise PortTaken(f"{obstacle.text} — set services.{spec.name}.{obstacle.part}{obstacle.remedy}")
    if not spec.auto_port:
        return spec.port
    if last and last not in used and is_free(spec.host, last):
        return last
    return _first_free(spec, used) if spec.port_range[0] else _any_free(spec.host, used)


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
    host: str, port: int, describe: Callable[[int, str], str] = lambda pid, name: name
) -> Obstacle | None:
    """Return why this process cannot listen on an address; None where it can.

    `describe` returns the words for the process, by pid and name, that has the port. Raises OSError where no descriptor is left
    to find it out.
    """
    try:
        error = bind_error(host, port)
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
    owner = port_owner(port)
    holder = f"pid {owner[0]} ({describe(*owner)})" if owner else "another process"
    return Obstacle(f"port {port} is taken by {holder}", "port", " or stop it")


def is_free(host: str, port: int) -> bool:
    """Return whether a port can be listened on now. Raises OSError where that cannot be found out (no descriptor is left)."""
    try:
        error = bind_error(host, port)
    except socket.gaierror:
        return False
    if error is not None and error.errno not in NOT_FREE:
        raise error
    return error is None


def bind_error(host: str, port: int) -> OSError | None:
    """Return the error that listening on a port would raise; None where it would succeed.

    Raises `socket.gaierror` for an unknown host.
    """
    family, address = _first_address(host, port)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            # As servers do: a port whose last connections are in TIME_WAIT is free.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error
    return None


def _first_address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Return the family and the address on which a server of this host listens. Raises `socket.gaierror`."""
    try:
        # The first address only, as servers that take one address do.
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError:  # a label that is longer than 63 characters
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    return family, address


def _first_free(spec: ServiceSpec, used: frozenset[int]) -> int:
    """Return the first free port of the service's range. Raises `PortTaken`."""
    first, last = spec.port_range
    for port in range(first, last + 1):
        if port not in used and is_free(spec.host, port):
            return port
    raise PortTaken(f"every port from {first} to {last} is taken — widen services.{spec.name}.port or free one")


def _any_free(host: str, used: frozenset[int]) -> int:
    """Return a free port that the kernel chooses."""
    family, address = _first_address(host, 0)
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind(address)
            port = int(sock.getsockname()[1])
        if port not in used:
            return port


def port_owner(port: int) -> tuple[int, str] | None:
    """Return pid and name of the process that listens on a TCP port of this machine; None where `/proc` does not show it."""
    inodes = set(_listening_sockets(port))
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


def _listening_sockets(port: int) -> Iterator[str]:
    """Yield the sockets that listen on a port, spelled as the links in `/proc/PID/fd` are: `socket:[12345]`."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                # 0A is TCP_LISTEN (tcp_states.h); the port is hexadecimal, behind the address.
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"
