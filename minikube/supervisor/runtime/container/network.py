"""The project's own network at the engine: created with the first container that needs it, removed after the last.

Every container on it has an address that processes of this machine and the other containers reach, and its service's name as
a host name. Containers reach servers on this machine's loopback (the registry, a Redis) through relays on the network's gateway.
"""

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from urllib.parse import urlsplit, urlunsplit

import trio
from msgspec import Struct

from minikube.addresses import join_host_port
from minikube.engine.command import container_name, is_unreachable
from minikube.errors import StartError
from minikube.manifest import is_loopback, parse_host_port
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.container.relay import Relay

REDIS_PORT = 6379
REMOVE_TIMEOUT_S = 10.0


class ContainerNetwork(Struct, frozen=True):
    """A network that exists at the engine."""

    name: str
    gateway: str
    """The address of this machine on it."""
    subnet: str


class ProjectNetwork:
    """The network of one supervisor's containers, and the relays on its gateway, which run in `nursery`."""

    def __init__(self, client: EngineClient, project: str, nursery: trio.Nursery) -> None:
        self._client = client
        self._name = container_name(project, client.engine.mark, "net")
        self._nursery = nursery
        self._lock = trio.Lock()
        self._existing: ContainerNetwork | None = None
        self._relays: dict[tuple[str, str], int] = {}
        """(Gateway, `registry` or `redis`) → port. By gateway, because a network that is created again may have another one."""

    async def ensure(self) -> ContainerNetwork:
        """Return the network; create it where it does not exist.

        Raises `ResourceExhausted` while the engine is away, else `StartError`.
        """
        async with self._lock:
            # Asked again each time: a user may have removed the network, for example with `docker network prune`.
            if self._existing is None or not (await self._inspect()).ok:
                self._existing = await self._create()
        return self._existing

    async def replace_loopback(
        self, network: ContainerNetwork, env: Mapping[str, str], registry: Callable[[], str]
    ) -> dict[str, str]:
        """Return a container's variables with the loopback addresses of registry and Redis replaced by those of relays.

        `registry` returns the registry's address; it is called for each connection, because a restart may change it.
        """
        found = dict(env)
        address = parse_host_port(env["MINIKUBE_REGISTRY"])
        if is_loopback(address.host):
            found["MINIKUBE_REGISTRY"] = f"{network.gateway}:{await self._relay(network, 'registry', registry)}"
        url = urlsplit(env["REDIS_URL"])
        if url.scheme in ("redis", "rediss") and is_loopback(url.hostname or "localhost"):
            target = join_host_port(url.hostname or "127.0.0.1", url.port or REDIS_PORT)
            port = await self._relay(network, "redis", lambda: target)
            user = url.netloc.rpartition("@")[0]
            netloc = f"{user}@{network.gateway}:{port}" if user else f"{network.gateway}:{port}"
            found["REDIS_URL"] = urlunsplit(url._replace(netloc=netloc))
        return found

    async def remove(self) -> str:
        """Remove the network, which has no container any more. Return its name where the engine does not answer, else empty."""
        if self._existing is not None:
            reply = await self._client.run("network", "rm", self._name, timeout=REMOVE_TIMEOUT_S, needs_answer=False)
            if reply.exit is None or is_unreachable(reply.error):
                return f"network {self._name}"
            self._existing = None
        return ""

    async def _relay(self, network: ContainerNetwork, server: str, target: Callable[[], str]) -> int:
        """Return the port of a relay to a server on the loopback; open the relay where there is none."""
        async with self._lock:
            key = (network.gateway, server)
            if key not in self._relays:
                relay = Relay(network.gateway, IPv4Network(network.subnet), target)
                listener, self._relays[key] = await relay.open()
                self._nursery.start_soon(relay.serve, listener)
            return self._relays[key]

    async def _create(self) -> ContainerNetwork:
        found = await self._inspect()
        if not found.ok:
            await self._client.run_checked(
                f"cannot make network {self._name}",
                "network",
                "create",
                "--label",
                self._client.engine.label,
                self._name,
            )
            found = await self._inspect()
        network = read_container_network(self._name, found.text)
        if network is None:
            raise StartError(f"network {self._name}: {self._client.engine.kind} has no IPv4 gateway for it")
        return network

    async def _inspect(self) -> EngineReply:
        return await self._client.run("network", "inspect", self._name)


def read_container_network(name: str, text: str) -> ContainerNetwork | None:
    """Return the network from the JSON of `network inspect`; None where it has no IPv4 gateway.

    Docker and nerdctl call the list of subnets `IPAM.Config`, Podman `subnets`.
    """
    try:
        (found,) = json.loads(text)  # `inspect` returns a list, here with one network
        rows = found.get("subnets") or found["IPAM"]["Config"]
        for row in rows:
            lower = {key.lower(): str(value) for key, value in row.items()}
            if "." in lower.get("gateway", ""):
                return ContainerNetwork(name, lower["gateway"].partition("/")[0], lower["subnet"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
