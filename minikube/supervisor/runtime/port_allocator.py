"""Choose ports for instances, so that no two instances that are starting take the same one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from minikube.linux.ports import choose_port
from minikube.manifest import ServiceSpec


class PortAllocator:
    """Chooses ports for instances, and holds each until its instance listens: until then the kernel reports it as free.

    All runtimes share one, because two services may have the same port range. Belongs to the trio thread.
    """

    def __init__(self) -> None:
        self._choosing = trio.Lock()
        self._claimed: set[int] = set()

    @asynccontextmanager
    async def claim(self, spec: ServiceSpec, last: int, used_ports: Callable[[], frozenset[int]]) -> AsyncIterator[int]:
        """Yield a port for an instance of `spec` (0 for a service without ports); no other instance gets it meanwhile.

        `last` is the port of the instance's last start, which is kept where it is free; 0 for none. `used_ports`
        returns the ports of all other instances; it has to include this one when the block ends. Raises as
        `choose_port`.
        """
        if not spec.port and not spec.auto_port:
            yield 0
            return
        async with self._choosing:
            # Called only now: an instance that got its port while this task waited may have started meanwhile.
            used = used_ports() | self._claimed
            # In a thread: a host name may have to be resolved, and the owner of a port is searched in all of /proc.
            port = await trio.to_thread.run_sync(choose_port, spec, last, used)
            self._claimed.add(port)
        try:
            yield port
        finally:
            self._claimed.discard(port)
