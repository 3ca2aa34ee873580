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
from minikube.defaults import REDIS_ENV, RELAY_SOURCE
from minikube.engine.command import container_name, is_unreachable
from minikube.errors import StartError
from minikube.manifest import is_loopback, parse_host_port
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.container.relay import Relay

REDIS_PORT = 6379
REMOVE_TIMEOUT_S = 10.0


class ContainerNetwork(Struct, frozen=True):
    """A network at the engine, as `network inspect` describes it."""

    name: str
    gateway: str
    """The address of this machine on it."""
    subnet: str


class ProjectNetwork:
    """The network of the project's containers. Creates it, removes it, and opens relays on its gateway address.

    The relays run in `nursery`.
    """

    def __init__(self, client: EngineClient, project: str, nursery: trio.Nursery) -> None:
        self._client = client
        self._name = container_name(project, client.engine.mark, "net")
        self._nursery = nursery
        self._lock = trio.Lock()
        self._existing: ContainerNetwork | None = None
        self._relays: dict[tuple[str, str], int] = {}
        """(Gateway, `registry` or `redis`) → port. By gateway, because a network that is created again may have another one."""

    async def ensure(self) -> ContainerNetwork:
        """Create the network unless it exists, and return it.

        Raises `ResourceExhausted` while the engine does not answer, else `StartError`.
        """
        async with self._lock:
            # Asked again each time: a user may have removed the network, for example with `docker network prune`.
            if self._existing is None or not (await self._inspect()).ok:
                self._existing = await self._create()
        return self._existing

    async def replace_loopback(
        self, network: ContainerNetwork, env: Mapping[str, str], registry: Callable[[], str]
    ) -> dict[str, str]:
        """Return the variables `env` with loopback addresses of the registry and Redis replaced by addresses of relays.

        A container cannot reach this machine's loopback, but it reaches a relay on the network's gateway. `registry`
        returns the registry's address; it is called for each connection, because a restart may change the address.
        """
        found = dict(env)
        address = parse_host_port(env["MINIKUBE_REGISTRY"])
        if is_loopback(address.host):
            found["MINIKUBE_REGISTRY"] = f"{network.gateway}:{await self._relay(network, 'registry', registry)}"
        # Not for Sentinel's list of hosts, which `urlsplit` refuses where one is an IPv6 address (Python 3.14).
        url = urlsplit(env["REDIS_URL"] if env["REDIS_URL"].startswith(("redis:", "rediss:")) else "")
        if url.scheme and is_loopback(url.hostname or "localhost"):
            target = join_host_port(url.hostname or "127.0.0.1", url.port or REDIS_PORT)
            port = await self._relay(network, "redis", lambda: target)
            user = url.netloc.rpartition("@")[0]
            netloc = f"{user}@{network.gateway}:{port}" if user else f"{network.gateway}:{port}"
            found["REDIS_URL"] = found[REDIS_ENV] = urlunsplit(url._replace(netloc=netloc))
        return found

    async def remove(self) -> str:
        """Remove the network, which must have no containers.

        Return a text with its name where the engine did not answer, so that it may still exist; else an empty one.
        """
        if self._existing is not None:
            reply = await self._client.run("network", "rm", self._name, timeout=REMOVE_TIMEOUT_S, needs_answer=False)
            if reply.exit is None or is_unreachable(reply.error):
                return f"network {self._name}"
            self._existing = None
        return ""

    async def _relay(self, network: ContainerNetwork, server: str, target: Callable[[], str]) -> int:
        """Return the port of the relay to `server` (`registry` or `redis`) on the network's gateway; open it at first use.

        `target` returns the address of the server.
        """
        async with self._lock:
            key = (network.gateway, server)
            if key not in self._relays:
                # Redis knows no users of this machine; the registry must not take a container for this user.
                source = RELAY_SOURCE if server == "registry" else None
                relay = Relay(network.gateway, IPv4Network(network.subnet), target, source)
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
    """Return the network `name` from `text`, the JSON of `network inspect`; None where it has no IPv4 gateway.

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
