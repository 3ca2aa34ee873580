"""What engines say about their networks: the gateway, the label, and whether this machine reaches the addresses.

It refuses to ask an engine: `supervisor.runtime.container.network` does.
"""

import json
import socket

from msgspec import Struct
from msgspec.structs import replace

from minikube.defaults import CONTAINER_LABEL

WITHOUT_NETWORK = 'or set network = "host"'
"""The end of a message about a network that cannot be used: containers of such a service need none."""

OUT_OF_REACH = (
    "runs without root or on another machine: containers on the project's network reach neither processes nor the registry of"
    " this machine, and no Redis on its loopback; they are registered where their ports are published"
)
"""What an engine does whose networks this machine does not have, behind its name."""

IN_REACH = 'set network = "host" for those that need more, or run the engine as root'
"""The advice that goes with `OUT_OF_REACH`."""

NETWORK_FAILURES = (
    "netavark",
    "iptables",
    "cni plugin",
    "failed to create endpoint",
    "failed programming external connectivity",
    "failed to set up container networking",
)
"""Phrases of an error message that mean: the engine could not connect the container with its network."""


class ContainerNetwork(Struct, frozen=True):
    """A network at the engine, as `network inspect` describes it."""

    name: str
    gateway: str
    """The address of this machine on it."""
    subnet: str
    mark: str = ""
    """The mark of the project that has made it: the value of its label."""
    bridge: str = ""
    """The name of its network interface; empty where that is made with the first container only."""
    is_reachable: bool = True
    """Whether processes of this machine reach the addresses on it, and containers the gateway."""

    @property
    def has_bridge(self) -> bool:
        """Whether this machine has the network's interface, as far as it is known: the engine may run on another one."""
        if not self.bridge:
            return True
        try:
            socket.if_nametoindex(self.bridge)
        except OSError:
            return False
        return True

    def unreachable(self) -> "ContainerNetwork":
        """Return the network as one whose addresses this machine does not reach."""
        return replace(self, is_reachable=False)


def read_container_network(name: str, text: str) -> ContainerNetwork | None:
    """Return the network `name` from `text`, the JSON of `network inspect`; None where it has no IPv4 gateway.

    Docker and nerdctl call the list of subnets `IPAM.Config`, Podman `subnets`.
    """
    try:
        (found,) = json.loads(text)  # `inspect` returns a list, here with one network
        rows = found.get("subnets") or found["IPAM"]["Config"]
        mark = str((found.get("labels") or found.get("Labels") or {}).get(f"{CONTAINER_LABEL}.mark", ""))
        for row in rows:
            lower = {key.lower(): str(value) for key, value in row.items()}
            if "." in lower.get("gateway", ""):
                gateway = lower["gateway"].partition("/")[0]
                return ContainerNetwork(name, gateway, lower["subnet"], mark, _bridge(found))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None


def _bridge(found: dict[str, object]) -> str:
    """Return the name of Docker's bridge, which exists from the network's creation on; empty for other engines."""
    # Docker alone says `Scope`. Podman and nerdctl make the interface with the first container.
    if not found.get("Scope") or found.get("Driver") != "bridge":
        return ""
    options = found.get("Options")
    named = options.get("com.docker.network.bridge.name") if isinstance(options, dict) else None
    return str(named or f"br-{str(found['Id'])[:12]}")


def lacks_network(text: str) -> bool:
    """Return whether an engine's error message says that a network does not exist (any more)."""
    lowered = text.lower()
    return "network" in lowered and "not found" in lowered


def is_network_failure(text: str) -> bool:
    """Return whether an engine's error message says that a container could not be connected with its network."""
    lowered = text.lower()
    return any(words in lowered for words in NETWORK_FAILURES)


def is_on_this_machine(text: str) -> bool:
    """Return whether an engine runs as root on this machine, by `text`, the JSON of `info`. True where it does not say.

    An engine without root has network interfaces that this machine does not have.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return True
    if not isinstance(found, dict):
        return True
    if isinstance(host := found.get("host"), dict):  # Podman
        security = host.get("security")
        return not (host.get("serviceIsRemote") or (isinstance(security, dict) and security.get("rootless")))
    options = found.get("SecurityOptions") or ()
    return not any("rootless" in str(option) for option in options)
