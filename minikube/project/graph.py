"""The dependency graph (floor 3, pure): in which order services start and stop, and what differs between two manifests.

Everything here takes plain mappings and returns values. It refuses to know about processes, time or trio.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from minikube.errors import ManifestError
from minikube.manifest import ServiceSpec

Dependencies = Mapping[str, Iterable[str]]
"""Each service's name with the names it depends on. Every name is a key."""

IN_PLACE = frozenset(
    {"depends_on", "health", "logs", "meta", "profiles", "restart", "schedule", "stop", "tags", "watch"}
)
"""Fields of a service that can change under a running process. `replicas` is apart: it adds or removes instances."""


class CycleError(ManifestError):
    """Services depend on each other in a circle; `path` starts and ends with the same name."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(f"depends_on: {' → '.join(path)} is a circle — remove one of these dependencies")
        self.path = path


class UnknownDependency(ManifestError):
    """A service depends on one that does not exist."""


def start_order(dependencies: Dependencies) -> tuple[str, ...]:
    """All names, each after everything it depends on; otherwise in the order given. Raises `CycleError`."""
    done: dict[str, None] = {}
    for root in dependencies:
        path: list[tuple[str, list[str]]] = []
        _enter(root, dependencies, done, path)
        while path:
            name, left = path[-1]
            if left:
                _enter(left.pop(0), dependencies, done, path)
            else:
                done[name] = None
                path.pop()
    return tuple(done)


def _enter(name: str, dependencies: Dependencies, done: dict[str, None], path: list[tuple[str, list[str]]]) -> None:
    if name in done:
        return
    names = [step for step, _ in path]
    if name in names:
        raise CycleError((*names[names.index(name) :], name))
    if name not in dependencies:
        raise UnknownDependency(f"services.{names[-1]}.depends_on: there is no service {name}")
    path.append((name, list(dependencies[name])))


def stop_order(dependencies: Dependencies) -> tuple[str, ...]:
    """All names, each before everything it depends on."""
    return start_order(dependencies)[::-1]


def dependents(dependencies: Dependencies, name: str) -> tuple[str, ...]:
    """Who depends on `name`, directly or not, nearest first."""
    found: dict[str, None] = {}
    edge = [name]
    while edge:
        edge = [who for who, needs in dependencies.items() if who not in found and any(one in needs for one in edge)]
        found.update(dict.fromkeys(edge))
    found.pop(name, None)
    return tuple(found)


def needed(dependencies: Dependencies, names: Iterable[str]) -> tuple[str, ...]:
    """`names` and everything they depend on, in start order."""
    wanted: set[str] = set()
    edge = list(names)
    while edge:
        name = edge.pop()
        if name not in wanted:
            wanted.add(name)
            edge.extend(dependencies[name])
    return tuple(name for name in start_order(dependencies) if name in wanted)


def longest_stop(dependencies: Dependencies, seconds: Mapping[str, float]) -> tuple[float, tuple[str, ...]]:
    """How long stopping everything may take, and the path (first to stop first) that takes it."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for name in start_order(dependencies):
        below = max((best[need] for need in dependencies[name]), default=(0.0, ()))
        best[name] = (seconds.get(name, 0.0) + below[0], (name, *below[1]))
    return max(best.values(), default=(0.0, ()))


class Diff(Struct, frozen=True):
    """What turns one set of services into another. A service is in one of the first four, or unchanged."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Changed in a way that needs new processes."""
    adjusted: tuple[str, ...] = ()
    """Changed in place: running processes keep their pids."""
    fields: dict[str, tuple[str, ...]] = {}
    """Which keys changed, for replaced and adjusted services."""


def diff(old: Mapping[str, ServiceSpec], new: Mapping[str, ServiceSpec]) -> Diff:
    """What has to be done to get from `old` to `new`; unchanged services appear nowhere."""
    fields = {name: changed for name in new if name in old and (changed := _changed(old[name], new[name]))}
    kind: dict[str, Literal["replaced", "adjusted"]] = {
        name: "adjusted" if _follows(changed) else "replaced" for name, changed in fields.items()
    }
    return Diff(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        replaced=tuple(name for name in fields if kind[name] == "replaced"),
        adjusted=tuple(name for name in fields if kind[name] == "adjusted"),
        fields=fields,
    )


def goes_on(old: ServiceSpec, new: ServiceSpec) -> bool:
    """Whether a process of the one is as good as a process of the other."""
    return old is new or _follows(_changed(old, new))


def _follows(changed: Iterable[str]) -> bool:
    return IN_PLACE.union({"replicas"}).issuperset(changed)


def _changed(old: ServiceSpec, new: ServiceSpec) -> tuple[str, ...]:
    before: dict[str, Any] = msgspec.structs.asdict(old)
    after: dict[str, Any] = msgspec.structs.asdict(new)
    return tuple(key for key in after if before[key] != after[key])
