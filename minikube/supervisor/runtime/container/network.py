"""The project's own network at the engine (floor 3): made when the first container wants it, removed with the last.

Every container on it has an address that processes of this machine and the other containers reach, and its service's name as
a host name. What listens on our loopback (the registry, a Redis) is reached through relays on the network's gateway.
"""

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from urllib.parse import urlsplit, urlunsplit

import trio
from msgspec import Struct

from minikube.addresses import join_host_port
from minikube.engine.engine import container_name, is_unreachable
from minikube.errors import StartError
from minikube.manifest import is_loopback, parse_host_port
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.container.relay import Relay

REDIS_PORT = 6379
REMOVE_S = 10.0


class ContainerNetwork(Struct, frozen=True):
    """A network that exists: its name at the engine, and the address of this machine on it."""

    name: str
    gateway: str
    subnet: str


class ProjectNetwork:
    """At most one for each supervisor. Its relays belong to `nursery`."""

    def __init__(self, client: EngineClient, project: str, nursery: trio.Nursery) -> None:
        self._client = client
        self._name = container_name(project, client.engine.mark, "net")
        self._nursery = nursery
        self._lock = trio.Lock()
        self._lan: ContainerNetwork | None = None
        self._relays: dict[tuple[str, str], int] = {}
        """Gateway and what is behind it → port: a network that was made again may have another gateway."""

    async def ensure(self) -> ContainerNetwork:
        """Raises `Starved` while the engine is away, else `StartError`."""
        async with self._lock:
            if self._lan is None or not (await self._inspect()).good:
                self._lan = await self._make()
        return self._lan

    async def surroundings(
        self, lan: ContainerNetwork, env: Mapping[str, str], registry: Callable[[], str]
    ) -> dict[str, str]:
        """The variables of a container with addresses in them that lead somewhere from this network."""
        found = dict(env)
        where = parse_host_port(env["MINIKUBE_REGISTRY"])
        if is_loopback(where.host):
            found["MINIKUBE_REGISTRY"] = f"{lan.gateway}:{await self._relay(lan, 'registry', registry)}"
        url = urlsplit(env["REDIS_URL"])
        if url.scheme in ("redis", "rediss") and is_loopback(url.hostname or "localhost"):
            target = join_host_port(url.hostname or "127.0.0.1", url.port or REDIS_PORT)
            port = await self._relay(lan, "redis", lambda: target)
            user = url.netloc.rpartition("@")[0]
            netloc = f"{user}@{lan.gateway}:{port}" if user else f"{lan.gateway}:{port}"
            found["REDIS_URL"] = urlunsplit(url._replace(netloc=netloc))
        return found

    async def remove(self) -> str:
        """Once no container is left on it. Its name, where the engine does not answer."""
        if self._lan is not None:
            answer = await self._client.ask("network", "rm", self._name, timeout=REMOVE_S, insist=False)
            if answer.exit is None or is_unreachable(answer.error):
                return f"network {self._name}"
            self._lan = None
        return ""

    async def _relay(self, lan: ContainerNetwork, what: str, target: Callable[[], str]) -> int:
        async with self._lock:
            key = (lan.gateway, what)
            if key not in self._relays:
                relay = Relay(lan.gateway, IPv4Network(lan.subnet), target)
                listener, self._relays[key] = await relay.open()
                self._nursery.start_soon(relay.serve, listener)
            return self._relays[key]

    async def _make(self) -> ContainerNetwork:
        found = await self._inspect()
        if not found.good:
            await self._client.need(
                f"cannot make network {self._name}",
                "network",
                "create",
                "--label",
                self._client.engine.label,
                self._name,
            )
            found = await self._inspect()
        lan = read_container_network(self._name, found.text)
        if lan is None:
            raise StartError(f"network {self._name}: {self._client.engine.kind} tells no IPv4 gateway of it")
        return lan

    async def _inspect(self) -> EngineReply:
        return await self._client.ask("network", "inspect", self._name)


def read_container_network(name: str, text: str) -> ContainerNetwork | None:
    """Docker's and nerdctl's `IPAM.Config`, or Podman's `subnets`; the first with an IPv4 gateway."""
    try:
        (found,) = json.loads(text)
        rows = found.get("subnets") or found["IPAM"]["Config"]
        for row in rows:
            lower = {key.lower(): str(value) for key, value in row.items()}
            if "." in lower.get("gateway", ""):
                return ContainerNetwork(name, lower["gateway"].partition("/")[0], lower["subnet"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
