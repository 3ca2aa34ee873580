"""Relays on a network's gateway for instances that listen on this machine's loopback: containers reach them by name.

A container resolves the name of such a service to the gateway, so a relay listens there on the instance's own port. One task
follows the instances: a relay is opened when an instance listens, and closed when it ends. It refuses to relay to anything but
instances of the project.
"""

import errno
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network

import trio
from msgspec import Struct

from minikube.addresses import join_host_port
from minikube.control.state_store import StateStore
from minikube.engine.networks import ContainerNetwork
from minikube.linux.ports import listening_ports
from minikube.supervisor.runtime.container.client import ReportEvent
from minikube.supervisor.runtime.container.relay import ClientCount, Relay, Target

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors that pass by themselves."""

PAUSE_S = 0.05
"""Between two looks at the ports that instances listen on: the store may change a thousand times a second."""

POLL_S = 1.0
"""How long an instance that listens late, without a change in the store, waits for its relay."""


class Endpoint(Struct, frozen=True):
    """A TCP port of one running instance on this machine."""

    instance: str
    """The name of the instance, for messages."""
    pid: int
    host: str
    port: int


class HostServices(Struct, frozen=True):
    """The services of the project that listen on this machine's network: processes, and containers with `network = "host"`."""

    names: Callable[[], frozenset[str]]
    """Return the names of the services, whether they run or not."""
    endpoints: Callable[[], frozenset[Endpoint]]
    """Return the ports of the running instances, whether they listen yet or not."""
    store: StateStore
    """Changes whenever an instance starts, becomes ready or ends."""


class HostRelays:
    """Holds a relay for each endpoint of `services` on the gateway of `network`. Belongs to the trio thread.

    `report_event` is called when a port cannot be listened on at the gateway.
    """

    def __init__(self, network: ContainerNetwork, services: HostServices, report_event: ReportEvent) -> None:
        self._network = network
        self._services = services
        self._report_event = report_event
        # One count for all: a container that floods one instance leaves the relays to registry and Redis alone.
        self._clients = ClientCount()
        self._relays: dict[Endpoint, _OpenRelay | None] = {}
        """None: no relay is needed, because the instance listens on all addresses, or none can be opened."""

    async def serve(self, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        """Open and close relays as instances start and end, until the scope is cancelled that it reports when it has started."""
        store = self._services.store
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await self._update(nursery)
                task_status.started(scope)
                while True:
                    revision = store.revision
                    silent = await self._update(nursery)
                    await trio.sleep(PAUSE_S if silent else 0)
                    with trio.move_on_after(POLL_S) if silent else trio.CancelScope():
                        await store.wait_past(revision)

    async def _update(self, nursery: trio.Nursery) -> bool:
        """Close relays of instances that have ended, and open those of instances that listen.

        Return whether some instance does not listen yet.
        """
        endpoints = self._services.endpoints()
        for endpoint in self._relays.keys() - endpoints:
            # Waited for: another instance may have the same port.
            if relay := self._relays.pop(endpoint):
                await relay.close()
        missing = endpoints - self._relays.keys()
        if missing:
            await self._open(missing, nursery)
        return bool(endpoints - self._relays.keys())

    async def _open(self, endpoints: Iterable[Endpoint], nursery: trio.Nursery) -> None:
        # Never before the instance listens: a program that listens on all addresses would find its port taken, by the relay.
        found = listening_ports()
        for endpoint in endpoints:
            if endpoint.port not in found:
                continue
            # For the rest of the instance's life: its program may close its port for a moment, to listen again.
            self._relays[endpoint] = None
            if found[endpoint.port]:
                continue
            try:
                self._relays[endpoint] = await self._start(endpoint, nursery)
            except OSError as error:
                if error.errno in SHORTAGES:
                    del self._relays[endpoint]  # tried again
                    continue
                at = join_host_port(self._network.gateway, endpoint.port)
                text = f"containers do not reach {endpoint.instance} at {at}: {error.strerror}"
                self._report_event(text, "warning")

    async def _start(self, endpoint: Endpoint, nursery: trio.Nursery) -> "_OpenRelay":
        """Listen on the endpoint's port at the gateway, and serve in `nursery`. Raises OSError."""
        address = join_host_port(endpoint.host, endpoint.port)
        subnet = IPv4Network(self._network.subnet)
        relay = Relay(self._network.gateway, subnet, Target(lambda: address), self._clients)
        listener, _ = await relay.open(endpoint.port)
        opened = _OpenRelay(relay, listener)
        nursery.start_soon(opened.serve)
        return opened


class _OpenRelay:
    """A relay and the task that serves it."""

    def __init__(self, relay: Relay, listener: trio.SocketListener) -> None:
        self._relay, self._listener = relay, listener
        self._scope, self._closed = trio.CancelScope(), trio.Event()

    async def serve(self) -> None:
        """Serve until `close`."""
        try:
            with self._scope:
                await self._relay.serve(self._listener)
        finally:
            self._closed.set()

    async def close(self) -> None:
        """End all connections of the relay, and return when its port is free."""
        self._scope.cancel()
        await self._closed.wait()
