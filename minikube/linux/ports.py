"""Ports of this machine (floor 3): which is free, who has it. Looks at sockets and at `/proc`; listens on nothing."""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from minikube.errors import PortTaken
from minikube.linux import processes as tree
from minikube.manifest import ServiceSpec

NOT_FREE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


class PortAllocator:
    """Ports of instances whose start is under way: nobody listens on them yet, and no sibling may choose them.

    One for all runtimes, as a range may be given twice. Belongs to the trio thread.
    """

    def __init__(self) -> None:
        self._choosing = trio.Lock()
        self._claimed: set[int] = set()

    @asynccontextmanager
    async def claim(self, spec: ServiceSpec, last: int, taken: Callable[[], frozenset[int]]) -> AsyncIterator[int]:
        """What `choose_port` says, the caller's until the block ends: then `taken` has to know it. Raises as `choose_port`.

        In a thread: a host name may have to be asked for, and who has a port is found in all of `/proc`.
        """
        if not spec.port and not spec.auto_port:
            yield 0
            return
        async with self._choosing:
            # Asked here: whoever chose while we waited may have started meanwhile.
            port = await trio.to_thread.run_sync(choose_port, spec, last, taken() | self._claimed)
            self._claimed.add(port)
        try:
            yield port
        finally:
            self._claimed.discard(port)


def choose_port(spec: ServiceSpec, last: int, taken: frozenset[int]) -> int:
    """The port for one instance: the manifest's, or the one it had last, or a free one; 0 where it has none.

    Raises `PortTaken`, and OSError as `is_free` does. What is free now may be taken before the instance listens: then its
    own start fails, and it is tried again.
    """
    if spec.auto_port:
        if last and last not in taken and is_free(spec.host, last):
            return last
        return _first_free(spec, taken) if spec.port_range[0] else _any_free(spec.host, taken)
    if spec.port and not is_free(spec.host, spec.port):
        owner = tree.port_owner(spec.port)
        who = f"pid {owner[0]} ({owner[1]})" if owner else "another process"
        raise PortTaken(f"{spec.name}: port {spec.port} is taken by {who} — set services.{spec.name}.port or stop it")
    return spec.port


def is_free(host: str, port: int) -> bool:
    """Whether it could be listened on now. Raises OSError where that cannot be found out (no descriptor is left)."""
    try:
        error = refusal(host, port)
    except socket.gaierror:
        return False
    if error is not None and error.errno not in NOT_FREE:
        raise error
    return error is None


def refusal(host: str, port: int) -> OSError | None:
    """Why it could not be listened on now; None: it could. Raises `socket.gaierror` for a host that is not known."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error
    return None


def _first_free(spec: ServiceSpec, taken: frozenset[int]) -> int:
    first, last = spec.port_range
    for port in range(first, last + 1):
        if port not in taken and is_free(spec.host, port):
            return port
    raise PortTaken(
        f"{spec.name}: every port from {first} to {last} is taken — widen services.{spec.name}.port or stop who has them"
    )


def _any_free(host: str, taken: frozenset[int]) -> int:
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
            port = int(sock.getsockname()[1])
        if port not in taken:
            return port
