"""The registration and the check of an instance, from its spec and its address; whether the registry makes the check. Pure.

Nothing is probed or registered here.
"""

from msgspec import Struct

from minikube.manifest import HealthSpec, HostPort, ServiceSpec, fill_instance_variables, shown_command
from minikube.model import Address, Instance, Registration, normalize_host
from minikube.project.instance_ports import InstancePorts
from minikube.text import mask_url

LEASE_S = 15.0
"""How long the registry keeps a reported check result that is not repeated."""


class InstanceDescription(Struct, frozen=True):
    """The identity, spec and address of one instance."""

    id: str
    name: str
    spec: ServiceSpec
    host: str
    ports: InstancePorts = InstancePorts()
    replica: int = 1
    """The number of the replica, from 1."""
    reached_ports: InstancePorts | None = None
    """The ports at `host`, where that is an address of the instance alone, and `ports` are published; None: `ports`."""

    @property
    def port(self) -> int:
        """The port that is registered and checked; 0 for an instance without one."""
        return (self.reached_ports or self.ports).main

    @property
    def published(self) -> str:
        """The address of this machine at which the port is published; empty where the instance itself is reached on it."""
        return str(HostPort(self.spec.host, self.ports.main)) if self.reached_ports and self.ports.main else ""

    @property
    def is_registered(self) -> bool:
        """Whether the instance has to be in the registry, registered by itself or by the supervisor."""
        return self.spec.register == "self" or (self.spec.register == "supervisor" and self.port > 0)

    @property
    def is_reported(self) -> bool:
        """Whether the supervisor makes the check and reports its results to the registry, as a `ttl:` check."""
        return self.spec.register == "supervisor" and self.port > 0 and is_local_check(self.spec.health)

    def owns(self, entry: Instance) -> bool:
        """Return whether a registry entry with this id leads to the instance.

        An entry that the instance makes itself may have any address.
        """
        if self.spec.register != "supervisor" or not self.port:
            return True
        address = Address(normalize_host(self.host), self.port)
        return (entry.name, str(entry.addr)) == (self.spec.name, str(address))

    @property
    def check_url(self) -> str:
        """The URL that the check probes, `tcp://` or `http://`; empty for a command or log check."""
        address, health = HostPort(self.host, self.port), self.spec.health
        if health is None or health.kind == "tcp":
            return f"tcp://{address}"
        if health.kind == "http":
            variables = {"SERVICE_NAME": self.spec.name, "INSTANCE_ID": self.id, "REPLICA": str(self.replica)}
            variables |= {"HOST": self.host, "PORT": "", **(self.reached_ports or self.ports).variables}
            path = fill_instance_variables(health.http, variables)
            return path if "://" in path else f"http://{address}{path}"
        return ""

    @property
    def check_text(self) -> str:
        """The check as users see it, without secrets: a URL, a command, or a log pattern; empty for an instance without a check."""
        health = self.spec.health
        if health is not None and health.kind == "command":
            return shown_command(self.spec, (health.shell,) if health.shell else health.command)
        if health is not None and health.kind == "log":
            return f"log {health.log!r}"
        return mask_url(self.check_url) if self.port or (health and "://" in health.http) else ""

    @property
    def registration(self) -> Registration | None:
        """The registration that the supervisor sends to the registry; None where it does not register the instance."""
        spec = self.spec
        if spec.register != "supervisor" or not self.port:
            return None
        health = spec.health or HealthSpec("tcp")
        address = Address(self.host, self.port)
        if is_local_check(health):  # reports have the thresholds applied, so the registry gets none
            return Registration(spec.name, address, "ttl:", self.id, spec.tags, dict(spec.meta), lease=LEASE_S)
        return Registration(
            name=spec.name,
            addr=address,
            health_check=self.check_url,
            uuid=self.id,
            tags=spec.tags,
            meta=dict(spec.meta),
            interval=health.interval,
            timeout=health.timeout,
            failures=health.failures,
            timeouts=health.timeouts,
            successes=health.successes,
        )


def is_local_check(health: HealthSpec | None) -> bool:
    """Return whether only the supervisor can make the check, because it runs a command or reads the output."""
    return health is not None and health.kind in ("command", "log")
