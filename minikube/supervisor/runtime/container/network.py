"""The project's own network at the engine: created with the first container that needs it, removed after the last.

Every container on it has an address that processes of this machine and the other containers reach, and its service's name as
a host name. Containers reach servers on this machine's loopback (the registry, a Redis, processes of the project) through
relays on the network's gateway. Where the engine runs without root or on another machine, nothing here reaches its networks:
then containers find each other only, and there are no relays.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from urllib.parse import urlsplit, urlunsplit

import trio

from minikube.addresses import WILDCARD_HOSTS, join_host_port
from minikube.defaults import REDIS_ENV, RELAY_SOURCE
from minikube.engine.command import container_name, is_unreachable
from minikube.engine.networks import (
    IN_REACH,
    OUT_OF_REACH,
    WITHOUT_NETWORK,
    ContainerNetwork,
    is_on_this_machine,
    read_container_network,
)
from minikube.errors import ResourceExhausted, StartError
from minikube.jsonrpc.messages import encode_notification
from minikube.manifest import is_loopback, parse_host_port
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply, ReportEvent
from minikube.supervisor.runtime.container.host_relays import HostRelays, HostServices
from minikube.supervisor.runtime.container.relay import Relay, Target

REDIS_PORT = 6379
REMOVE_TIMEOUT_S = 10.0


class ProjectNetwork:
    """The network of the project's containers. Creates it, removes it, and opens relays on its gateway address.

    The relays run in `nursery`. `report_event` is called with warnings about the network. `greet` says whether relays to the
    registry tell it the gateway, which a registry with TLS would take for an error.
    """

    def __init__(
        self,
        client: EngineClient,
        project: str,
        nursery: trio.Nursery,
        services: HostServices,
        report_event: ReportEvent,
        *,
        greet: bool = True,
    ) -> None:
        self._client = client
        self._name = container_name(project, client.engine.mark, "net")
        self._nursery = nursery
        self._report_event = report_event
        self._greet = greet
        self._lock = trio.Lock()
        self._existing: ContainerNetwork | None = None
        self._was_made = False
        self._failure: tuple[float, StartError] | None = None
        """The time and the error of the last try to make the network that failed."""
        self._is_on_this_machine: bool | None = None
        """None until the engine was asked."""
        self._services = services
        self._gateway = ""
        """Where the relays to the project's processes listen; empty while there are none."""
        self._relaying = trio.CancelScope()
        self._relays: dict[tuple[str, str], int] = {}
        """(Gateway, `registry` or `redis`) → port. By gateway, because a network that is created again may have another one."""

    async def ensure(self) -> ContainerNetwork:
        """Create the network unless it exists, and return it.

        Raises `ResourceExhausted` while the engine does not answer, else `StartError`.
        """
        began = trio.current_time()
        async with self._lock:
            # An engine that does not answer costs one time-out, not one after the other for all containers that wait here.
            if self._existing is None and self._failure is not None and self._failure[0] >= began:
                raise self._failure[1]
            if self._existing is None:
                try:
                    network = await self._create()
                except StartError as error:
                    self._failure = (trio.current_time(), error)
                    raise
                if network.is_reachable and network.gateway != self._gateway:
                    self._relaying.cancel()
                    # Before the first container: it may connect to a process of this machine at once.
                    relays = HostRelays(network, self._services, self._report_event)
                    self._relaying = await self._nursery.start(relays.serve)
                    self._gateway = network.gateway
                self._existing = network
            return self._existing

    def forget(self) -> None:
        """Look at the next `ensure` whether the engine still has the network: a container could not be started on it."""
        self._existing = None

    async def replace_loopback(
        self, network: ContainerNetwork, env: Mapping[str, str], registry: Callable[[], str]
    ) -> dict[str, str]:
        """Return the variables `env` with loopback addresses of the registry and Redis replaced by addresses of relays.

        A container cannot reach this machine's loopback, but it reaches a relay on the network's gateway. `registry`
        returns the registry's address; it is called for each connection, because a restart may change the address.
        """
        found = dict(env)
        if not network.is_reachable:
            return found
        address = parse_host_port(env["MINIKUBE_REGISTRY"])
        if address.host in WILDCARD_HOSTS:  # it listens on the gateway, too
            found["MINIKUBE_REGISTRY"] = join_host_port(network.gateway, address.port)
        elif is_loopback(address.host):
            # Redis knows no users of this machine; the registry must not take a container for this user.
            greeting = encode_notification("Discovery.Via", {"Host": network.gateway}) if self._greet else b""
            target = Target(registry, RELAY_SOURCE, greeting)
            port = await self._relay(network, "registry", address.port, target)
            found["MINIKUBE_REGISTRY"] = f"{network.gateway}:{port}"
        # Not for Sentinel's list of hosts, which `urlsplit` refuses where one is an IPv6 address (Python 3.14).
        url = urlsplit(env["REDIS_URL"] if env["REDIS_URL"].startswith(("redis:", "rediss:")) else "")
        if url.scheme and is_loopback(url.hostname or "localhost"):
            redis = join_host_port(url.hostname or "127.0.0.1", url.port or REDIS_PORT)
            port = await self._relay(network, "redis", url.port or REDIS_PORT, Target(lambda: redis))
            user = url.netloc.rpartition("@")[0]
            netloc = f"{user}@{network.gateway}:{port}" if user else f"{network.gateway}:{port}"
            found["REDIS_URL"] = found[REDIS_ENV] = urlunsplit(url._replace(netloc=netloc))
        return found

    async def remove(self) -> str:
        """Remove the network, which must have no containers.

        Return a text with its name where the engine did not answer, so that it may still exist; else an empty one.
        """
        if self._was_made:
            reply = await self._client.run("network", "rm", self._name, timeout=REMOVE_TIMEOUT_S, needs_answer=False)
            if reply.exit is None or is_unreachable(reply.error):
                return f"network {self._name}"
            self._existing, self._was_made = None, False
        return ""

    async def _relay(self, network: ContainerNetwork, server: str, port: int, target: Target) -> int:
        """Return the port of the relay to `server` (`registry` or `redis`) on the network's gateway; open it at first use.

        It is `port`, the server's own, where that is free there: no process of this machine can have the same one.
        """
        async with self._lock:
            key = (network.gateway, server)
            if key not in self._relays:
                relay = Relay(network.gateway, IPv4Network(network.subnet), target)
                try:
                    listener, self._relays[key] = await relay.open(port)
                except OSError:
                    listener, self._relays[key] = await relay.open()
                self._nursery.start_soon(relay.serve, listener)
            return self._relays[key]

    async def _create(self) -> ContainerNetwork:
        found = await self._inspect()
        if not found.ok:
            what, label = f"cannot make network {self._name}", self._client.engine.label
            # A `create` that is cancelled may have made it all the same.
            self._was_made = True
            try:
                await self._client.run_checked(what, "network", "create", "--label", label, self._name)
            except ResourceExhausted:
                raise
            except StartError as error:
                raise StartError(f"{error} — remove networks that nothing uses, {WITHOUT_NETWORK}") from None
            found = await self._inspect()
        network = read_container_network(self._name, found.text)
        if network is None:
            raise StartError(
                f"network {self._name}: {self._client.engine.kind} has no IPv4 gateway for it — {WITHOUT_NETWORK}"
            )
        if network.mark != self._client.engine.mark:
            raise StartError(f"a network that this project did not create is called {self._name} — remove it")
        self._was_made = True
        return network if await self._reaches(network) else network.unreachable()

    async def _reaches(self, network: ContainerNetwork) -> bool:
        """Return whether this machine reaches addresses of the network; report an event the first time that it does not.

        Raises as `ensure`.
        """
        if self._is_on_this_machine is None:
            what = "cannot ask the engine where it runs"
            text = await self._client.run_checked(what, "info", "--format", "{{json .}}")
            self._is_on_this_machine = is_on_this_machine(text) and network.has_bridge
            if not self._is_on_this_machine:
                self._report_event(f"{self._client.engine.kind} {OUT_OF_REACH} — {IN_REACH}", "warning")
        return self._is_on_this_machine

    async def _inspect(self) -> EngineReply:
        return await self._client.run("network", "inspect", self._name)
