"""The ports of an instance: `port`, which is registered, and `ports` by name; the choice of free ones.

It refuses to reserve a port: see `linux.ports`.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from minikube.errors import PortTaken
from minikube.linux.ports import find_obstacle, free_port, is_free
from minikube.manifest import PortSpec, ServiceSpec, port_variable
from minikube.manifest.spec import Protocol

UsedPorts = frozenset[tuple[Protocol, int]]
"""Ports that other instances have: TCP and UDP ports with the same number are different ones."""


class InstancePorts(Struct, frozen=True):
    """The ports of one instance on this machine; for a container those that are published, or that it has on its network."""

    main: int = 0
    """The port of the key `port`; 0: none, or not chosen yet."""
    named: Mapping[str, int] = field(default_factory=dict)
    """The ports of the key `ports` by name, without those that are not chosen yet."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables with the numbers of the ports: PORT, and PORT_HTTP for the port `http`."""
        found = {"PORT": str(self.main)} if self.main else {}
        return found | {port_variable(name): str(port) for name, port in self.named.items()}

    def used(self, spec: ServiceSpec) -> UsedPorts:
        """Return the ports with their protocols. `spec` is that of the instance's service."""
        found: set[tuple[Protocol, int]] = {("tcp", self.main)} if self.main else set()
        return frozenset(found | {(_protocol(spec, name), port) for name, port in self.named.items()})

    def in_container(self, spec: ServiceSpec) -> "InstancePorts":
        """Return the ports on which the program in a container listens: each `container_port`, or the same number."""
        inner = {name: port.container_port for name, port in spec.ports.items() if port.container_port}
        named = {name: inner.get(name, port) for name, port in self.named.items()}
        return InstancePorts(spec.container_port or self.main, named)


def fixed_ports(spec: ServiceSpec) -> InstancePorts:
    """Return the ports of a service that are known before the start: not those that are chosen for each instance."""
    return InstancePorts(spec.port, {name: port.port for name, port in spec.ports.items() if port.port})


def ports_after_edit(spec: ServiceSpec, before: InstancePorts) -> InstancePorts:
    """Return the ports of an instance that does not run, after an edit of its service to `spec`.

    Those that `spec` has chosen for each instance stay as they were, so that the next start keeps them.
    """
    fixed = fixed_ports(spec)
    kept = {name: before.named[name] for name, port in spec.ports.items() if not port.port and name in before.named}
    return InstancePorts(fixed.main or (before.main if spec.auto_port else 0), {**fixed.named, **kept})


def has_ports(spec: ServiceSpec) -> bool:
    """Return whether instances of a service have ports."""
    return bool(spec.port or spec.auto_port or spec.ports)


def listeners(spec: ServiceSpec) -> Iterator[tuple[str, str, PortSpec]]:
    """Yield each port of a service: its path in the manifest, its name (empty for `port`), and what the manifest says."""
    if spec.port or spec.auto_port:
        yield f"services.{spec.name}.port", "", PortSpec(spec.port, spec.port_range, spec.container_port)
    for name, port in spec.ports.items():
        yield f"services.{spec.name}.ports.{name}", name, port


def choose_ports(spec: ServiceSpec, last: InstancePorts, used: UsedPorts) -> InstancePorts:
    """Return the ports for an instance: the manifest's, or those of its last start, or free ones.

    `last` are the ports of the last start, `used` those of other instances. Raises `PortTaken`, and OSError as
    `linux.ports.is_free` does. Where a port is taken before the instance listens on it, the start fails and is tried again.
    """
    used = used | fixed_ports(spec).used(spec)  # a port that is chosen here is none of the others of the instance
    chosen = InstancePorts()
    for key, name, port in listeners(spec):
        before = last.named.get(name, 0) if name else last.main
        taken = frozenset(number for protocol, number in used if protocol == port.protocol)
        number = _choose(key, spec.host, port, before, taken)
        chosen = replace(chosen, named={**chosen.named, name: number}) if name else replace(chosen, main=number)
        used = used | {(port.protocol, number)}
    return chosen


def _choose(key: str, host: str, port: PortSpec, last: int, used: frozenset[int]) -> int:
    # Port 0 for one that is chosen: it finds a host on which no port could be listened on.
    obstacle = find_obstacle(host, port.port, protocol=port.protocol)
    # The right that this process lacks, the program may have: file capabilities, setuid, sudo.
    if obstacle is not None and not obstacle.lacks_right:
        service = ".".join(key.split(".")[:2])
        setting = key if obstacle.part == "port" else f"{service}.{obstacle.part}"
        raise PortTaken(f"{obstacle.text} — set {setting}{obstacle.remedy}")
    if port.port:
        return port.port
    first, end = port.port_range
    # Not one of a range that an edit has replaced.
    may_stay = bool(last) and (not first or first <= last <= end) and last not in used
    if may_stay and is_free(host, last, port.protocol):
        return last
    if not first:
        return free_port(host, used, port.protocol)
    for number in range(first, end + 1):
        if number not in used and is_free(host, number, port.protocol):
            return number
    raise PortTaken(f"every port from {first} to {end} is taken — widen {key} or free one")


def _protocol(spec: ServiceSpec, name: str) -> Protocol:
    # An instance that still runs may have a port that an edit has removed.
    return spec.ports[name].protocol if name in spec.ports else "tcp"
