"""`[defaults]` and `extends`: each service gets the keys that hold where it is silent.

The order is `[defaults]`, then the extended service and what that one extends, then the own keys. Problems are recorded in the
`ManifestReading`.
"""

import re

from minikube.manifest.diagnostics import KeyPath, ManifestReading, did_you_mean
from minikube.manifest.keys.containers import CONTAINER_KEYS
from minikube.manifest.keys.health import HEALTH_KINDS
from minikube.manifest.layers.merge import (
    IMAGE_KEYS,
    RUN_KEYS,
    SERVICE,
    Table,
    find_replaced_image,
    is_container,
    merge,
)
from minikube.manifest.tree.node import Node
from minikube.model import NAME_PATTERN

MAX_EXTENDS = 20
"""The longest chain of services of which each extends the next."""


def inherit(reading: ManifestReading) -> Node:
    """Return the tree of the manifest with the inherited keys in each service, and without the services that are only bases.

    A base that has nothing to run, and that another service extends, is no service.
    """
    tree = reading.tree
    services = tree.child("services")
    if services is None or not isinstance(services.value, dict):
        return tree
    defaults = tree.child("defaults")
    if defaults is None and not any(service.child("extends") for service in services.value.values()):
        return tree
    extended = _Extension(reading, services.value)
    found: dict[str, Node] = {}
    for name, service in services.value.items():
        whole = extended.resolve(name)
        if defaults is not None and isinstance(defaults.value, dict) and isinstance(whole.value, dict):
            warn_of_replaced_image(reading, defaults, whole)
            whole = _with_defaults(name, defaults, whole)
        found[name] = whole if isinstance(whole.value, dict) else service
    reading.bases = tuple(name for name in extended.bases if _runs_nothing(found[name]))
    for name in reading.bases:
        del found[name]
    return tree.with_value({**tree.value, "services": services.with_value(found)})


def warn_of_replaced_image(reading: ManifestReading, base: Node, over: Node) -> None:
    """Warn where a later command makes a process of an earlier container without saying so."""
    command = find_replaced_image(base, over)
    if command is not None:
        image = next(base.value[key] for key in (*IMAGE_KEYS, "runtime") if key in base.value)
        line, column = image.source.position(image.value_at)
        reading.warn_node(
            command,
            f"makes a process of the container of {image.source.file}:{line}:{column}"
            ' — set runtime = "process" beside it if that is meant, or "container" to replace the CMD of the image',
        )


def _runs_nothing(service: Node) -> bool:
    return isinstance(service.value, dict) and service.value.keys().isdisjoint(RUN_KEYS)


class _Extension:
    """The services with the keys of those that they extend. `bases` are the names of extended ones."""

    def __init__(self, reading: ManifestReading, services: Table) -> None:
        self.reading = reading
        self.services = services
        self.bases: dict[str, None] = {}
        self._resolved: dict[str, Node] = {}

    def resolve(self, name: str, below: tuple[str, ...] = ()) -> Node:
        """Return the service with the keys of those that it extends. `below` are the services that extend it."""
        if name not in self._resolved:
            self._resolved[name] = self._extend(name, below)
        return self._resolved[name]

    def _extend(self, name: str, below: tuple[str, ...]) -> Node:
        service = self.services[name]
        extends = service.child("extends")
        if extends is None or not isinstance(extends.value, str):  # the parser reports a value of another type
            return service
        own = service.with_value({key: node for key, node in service.value.items() if key != "extends"})
        base, chain = extends.value, (*below, name)
        key = KeyPath(self.reading, "services").key(name).key("extends")
        if base not in self.services:
            key.fail(f'expected another service of this manifest, got "{base}"{did_you_mean(base, self.services)}')
            return own
        if base in chain:
            circle = " → ".join((*chain[chain.index(base) :], base))
            key.fail(f"expected no cycle, got {circle} — remove one of them")
            return own
        if self._depth(name) > MAX_EXTENDS:
            key.fail(f"expected a chain of at most {MAX_EXTENDS} services that extend each other, got a longer one")
            return own
        if not re.fullmatch(NAME_PATTERN, base):
            return own  # the parser reports the name, as long as the service stays
        self.bases[base] = None
        whole = self.resolve(base, chain)
        if self.reading.failed(KeyPath(self.reading, "services").key(base).key("extends").path):
            self.reading.skip(key.path)
        warn_of_replaced_image(self.reading, whole, own)
        return merge(whole, own, SERVICE) if isinstance(whole.value, dict) else own

    def _depth(self, name: str) -> int:
        """Return how many services a service extends, one through the other; 0 where they lead to a cycle."""
        seen = {name}
        while True:
            service = self.services.get(name)
            extends = service.child("extends") if service is not None else None
            if extends is None or not isinstance(extends.value, str):
                return len(seen) - 1
            name = extends.value
            if name in seen:
                return 0
            seen.add(name)


def _with_defaults(name: str, defaults: Node, service: Node) -> Node:
    """Return a service with the keys of `[defaults]` under its own, without those that have no meaning for it."""
    table = dict(defaults.value)
    dependencies = table.get("depends_on")
    if dependencies is not None:
        table["depends_on"] = _without(name, dependencies)
    health = table.get("health")
    is_check = health is None or not isinstance(health.value, dict) or not health.value.keys().isdisjoint(HEALTH_KINDS)
    if not is_check and "health" not in service.value:  # an interval alone is no check
        del table["health"]
    runs_container = is_container(service.value if not service.value.keys().isdisjoint(RUN_KEYS) else table)
    cwd = table.get("cwd")
    if runs_container:
        if cwd is not None and not (isinstance(cwd.value, str) and cwd.value.startswith(("/", "$"))):
            del table["cwd"]
    else:
        table = {key: node for key, node in table.items() if key not in CONTAINER_KEYS}
    return merge(defaults.with_value(table), service, SERVICE)


def _without(name: str, dependencies: Node) -> Node:
    """Return the dependencies without the service itself: a default cannot mean that it waits for itself."""
    match dependencies.value:
        case dict() as table:
            return dependencies.with_value({key: node for key, node in table.items() if key != name})
        case list() as items:
            return dependencies.with_value([item for item in items if item.value != name])
        case _:
            return dependencies
