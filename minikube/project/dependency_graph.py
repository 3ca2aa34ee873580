"""The dependency graph: in which order services start and stop. Pure.

It refuses to know about processes, time and trio.
"""

from collections.abc import Iterable, Mapping

from minikube.errors import UsageError

Dependencies = Mapping[str, Iterable[str]]
"""Each service's name with the names of the services that it depends on. Every name is a key."""


class CycleError(UsageError):
    """Services depend on each other in a cycle; `path` starts and ends with the same name."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(f"depends_on: {' → '.join(path)} is a cycle — remove one of these dependencies")
        self.path = path


class UnknownDependency(UsageError):
    """A service depends on a service that does not exist."""


def start_order(dependencies: Dependencies) -> tuple[str, ...]:
    """Return all names, each after the services that it depends on; otherwise in the order given.

    Raises `CycleError` and `UnknownDependency`.
    """
    # Depth first with a stack of its own: a chain of a thousand services must not reach Python's recursion limit.
    done: dict[str, None] = {}
    for root in dependencies:
        path: list[tuple[str, list[str]]] = []
        _enter(root, dependencies, done, path)
        while path:
            name, remaining = path[-1]
            if remaining:
                _enter(remaining.pop(0), dependencies, done, path)
            else:
                done[name] = None
                path.pop()
    return tuple(done)


def _enter(name: str, dependencies: Dependencies, done: dict[str, None], path: list[tuple[str, list[str]]]) -> None:
    """Append a service and its dependencies to the path of the depth-first walk, unless the service is done."""
    if name in done:
        return
    names = [step for step, _ in path]
    if name in names:
        raise CycleError((*names[names.index(name) :], name))
    if name not in dependencies:
        raise UnknownDependency(f"services.{names[-1]}.depends_on: there is no service {name}")
    path.append((name, list(dependencies[name])))


def stop_order(dependencies: Dependencies) -> tuple[str, ...]:
    """Return all names, each before the services that it depends on."""
    return start_order(dependencies)[::-1]


def dependents(dependencies: Dependencies, name: str) -> tuple[str, ...]:
    """Return the services that depend on `name`, directly or not, the nearest first."""
    found: dict[str, None] = {}
    frontier = [name]
    while frontier:
        frontier = [
            service
            for service, needs in dependencies.items()
            if service not in found and any(needed in needs for needed in frontier)
        ]
        found.update(dict.fromkeys(frontier))
    found.pop(name, None)
    return tuple(found)


def with_dependencies(dependencies: Dependencies, names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` and all services that they depend on, directly or not, in start order."""
    wanted: set[str] = set()
    frontier = list(names)
    while frontier:
        name = frontier.pop()
        if name not in wanted:
            wanted.add(name)
            frontier.extend(dependencies[name])
    return tuple(name for name in start_order(dependencies) if name in wanted)


def longest_stop(dependencies: Dependencies, seconds: Mapping[str, float]) -> tuple[float, tuple[str, ...]]:
    """Return how long stopping all services may take, and the chain of services that takes it, the first to stop first.

    `seconds` are the stop time-outs by service.
    """
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for name in start_order(dependencies):
        below = max((best[need] for need in dependencies[name]), default=(0.0, ()))
        best[name] = (seconds.get(name, 0.0) + below[0], (name, *below[1]))
    return max(best.values(), default=(0.0, ()))
