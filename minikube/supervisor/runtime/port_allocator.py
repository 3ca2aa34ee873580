"""Choose ports for instances, so that no two instances that are starting take the same one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from minikube.manifest import ServiceSpec
from minikube.manifest.spec import Protocol
from minikube.project.instance_ports import InstancePorts, UsedPorts, choose_ports, has_ports


class PortAllocator:
    """Chooses ports for instances, and holds each until its instance listens: until then the kernel reports it as free.

    All runtimes share one, because two services may have the same port range. Belongs to the trio thread.
    """

    def __init__(self) -> None:
        self._choosing = trio.Lock()
        self._claimed: set[tuple[Protocol, int]] = set()

    @asynccontextmanager
    async def claim(
        self, spec: ServiceSpec, last: InstancePorts, used_ports: Callable[[], UsedPorts]
    ) -> AsyncIterator[InstancePorts]:
        """Yield the ports of an instance of `spec` (none for a service without ports); no other instance gets one meanwhile.

        `last` are the ports of the instance's last start, which are kept where they are free. `used_ports` returns the
        ports of all other instances; it has to include these when the block ends. Raises as `choose_ports`.
        """
        if not has_ports(spec):
            yield InstancePorts()
            return
        async with self._choosing:
            # Called only now: an instance that got its port while this task waited may have started meanwhile.
            used = used_ports() | self._claimed
            # In a thread: a host name may have to be resolved, and the owner of a port is searched in all of /proc.
            ports = await trio.to_thread.run_sync(choose_ports, spec, last, used)
            self._claimed |= ports.used(spec)
        try:
            yield ports
        finally:
            self._claimed -= ports.used(spec)
