"""Relays on a network's gateway for instances that listen on this machine's loopback: containers reach them by name.

A container resolves the name of such a service to the gateway, so a relay listens there on the instance's own port. One task
follows the instances: a relay is opened when an instance runs, and closed when it ends. It refuses to relay to anything but
instances of the project.
"""

from collections.abc import Awaitable, Callable, KeysView, Mapping
from functools import partial
from ipaddress import IPv4Network

import trio
from msgspec import Struct

from minikube.addresses import join_host_port
from minikube.engine.networks import ContainerNetwork
from minikube.supervisor.runtime.container.client import ReportEvent
from minikube.supervisor.runtime.container.relay import Relay, Target


class Endpoint(Struct, frozen=True):
    """A TCP port on which an instance listens on this machine."""

    host: str
    port: int


class HostServices(Struct, frozen=True):
    """The services of the project that listen on this machine's network: processes, and containers with `network = "host"`."""

    names: Callable[[], frozenset[str]]
    """Return the names of the services, whether they run or not."""
    endpoints: Callable[[], Mapping[Endpoint, str]]
    """Return what running instances listen on, apart from wildcard addresses, which the gateway is one of → instance name."""
    wait_until: Callable[[Callable[[], bool]], Awaitable[object]]
    """Wait until a condition holds that may change with the instances."""


class HostRelays:
    """Holds a relay for each endpoint of `services` on the gateway of `network`. Belongs to the trio thread.

    `report_event` is called when a port cannot be listened on at the gateway.
    """

    def __init__(self, network: ContainerNetwork, services: HostServices, report_event: ReportEvent) -> None:
        self._network = network
        self._services = services
        self._report_event = report_event
        self._relays: dict[Endpoint, _OpenRelay] = {}
        self._refused: set[Endpoint] = set()

    async def serve(self, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        """Open and close relays as instances start and end, until the scope is cancelled that it reports when it has started."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                wanted = self._services.endpoints()
                await self._update(wanted, nursery)
                task_status.started(scope)
                while True:
                    await self._services.wait_until(partial(self._differs, wanted.keys()))
                    wanted = self._services.endpoints()
                    await self._update(wanted, nursery)

    def _differs(self, seen: KeysView[Endpoint]) -> bool:
        return self._services.endpoints().keys() != seen

    async def _update(self, wanted: Mapping[Endpoint, str], nursery: trio.Nursery) -> None:
        """Close the relays that are not wanted any more, and open those that are missing."""
        self._refused &= wanted.keys()
        for endpoint in self._relays.keys() - wanted.keys():
            # Waited for: another instance may have the same port at another address of the loopback.
            await self._relays.pop(endpoint).close()
        for endpoint in wanted.keys() - self._relays.keys():
            try:
                self._relays[endpoint] = await _OpenRelay.start(self._network, endpoint, nursery)
            except OSError as error:
                if endpoint not in self._refused:
                    self._refused.add(endpoint)
                    at = join_host_port(self._network.gateway, endpoint.port)
                    text = f"containers do not reach {wanted[endpoint]} at {at}: {error.strerror}"
                    self._report_event(text, "warning")


class _OpenRelay:
    """A relay and the task that serves it."""

    def __init__(self, relay: Relay, listener: trio.SocketListener) -> None:
        self._relay, self._listener = relay, listener
        self._scope, self._closed = trio.CancelScope(), trio.Event()

    @classmethod
    async def start(cls, network: ContainerNetwork, endpoint: Endpoint, nursery: trio.Nursery) -> "_OpenRelay":
        """Listen on the endpoint's port at the gateway, and serve in `nursery`. Raises OSError."""
        address = join_host_port(endpoint.host, endpoint.port)
        relay = Relay(network.gateway, IPv4Network(network.subnet), Target(lambda: address))
        listener, _ = await relay.open(endpoint.port)
        opened = cls(relay, listener)
        nursery.start_soon(opened._serve)
        return opened

    async def _serve(self) -> None:
        try:
            with self._scope:
                await self._relay.serve(self._listener)
        finally:
            self._closed.set()

    async def close(self) -> None:
        """End all connections of the relay, and return when its port is free."""
        self._scope.cancel()
        await self._closed.wait()
