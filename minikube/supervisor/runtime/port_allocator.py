"""Choose ports for instances, so that no two instances that are starting take the same one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from minikube.linux.ports import choose_port
from minikube.manifest import ServiceSpec


class PortAllocator:
    """The ports of instances that are starting: they are chosen but not listened on yet, so the kernel calls them free.

    One for all runtimes, because two services may have the same range. Belongs to the trio thread.
    """

    def __init__(self) -> None:
        self._choosing = trio.Lock()
        self._claimed: set[int] = set()

    @asynccontextmanager
    async def claim(self, spec: ServiceSpec, last: int, used_ports: Callable[[], frozenset[int]]) -> AsyncIterator[int]:
        """Yield a port for an instance; no other instance gets it until the block ends. Raises as `choose_port`.

        `last` is the port of the instance's last start, 0 for none. When the block ends, `used_ports` has to include the
        port.
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
