"""What differs between the services of two manifests, and which differences a running process can follow. Pure.

`supervisor/reconcile/apply/diff.py` makes a plan of it.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from minikube.manifest import ServiceSpec

IN_PLACE = frozenset(
    {
        *("depends_on", "groups", "health", "logs", "meta", "on_exit", "optional_dependencies", "profiles"),
        *("restart", "schedule", "stop", "tags", "watch"),
    }
)
"""Keys of a service that can change while its processes run on. `replicas` is not among them: it adds or removes instances."""

ENVIRONMENT = frozenset({"env", "env_file", "file_env"})
"""Keys that can change without a change of the variables: one moves to a file, or from the service to `[env]`."""


class Diff(Struct, frozen=True):
    """The difference between two sets of services. An unchanged service is in none of the fields."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Changed, and new processes are needed."""
    adjusted: tuple[str, ...] = ()
    """Changed, and running processes go on with the same pids."""
    fields: dict[str, tuple[str, ...]] = {}
    """The changed keys of each replaced or adjusted service."""


def diff(old: Mapping[str, ServiceSpec], new: Mapping[str, ServiceSpec]) -> Diff:
    """Return the difference between the services of two manifests."""
    fields = {name: changed for name in new if name in old and (changed := _changed(old[name], new[name]))}
    kind: dict[str, Literal["replaced", "adjusted"]] = {
        name: "adjusted" if can_adjust_in_place(old[name], new[name]) else "replaced" for name in fields
    }
    return Diff(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        replaced=tuple(name for name in fields if kind[name] == "replaced"),
        adjusted=tuple(name for name in fields if kind[name] == "adjusted"),
        fields=fields,
    )


def can_adjust_in_place(old: ServiceSpec, new: ServiceSpec) -> bool:
    """Return whether the edit of a service from `old` to `new` lets its running processes go on."""
    if old is new:
        return True
    changed = set(_changed(old, new))
    if _environment(old) == _environment(new):
        changed -= ENVIRONMENT
    return IN_PLACE.union({"replicas"}).issuperset(changed)


def _environment(spec: ServiceSpec) -> dict[str, str]:
    """Return the variables that the manifest gives to a service, as templates."""
    return {name: value.replace("$", "$$") for name, value in spec.file_env.items()} | spec.env


def _changed(old: ServiceSpec, new: ServiceSpec) -> tuple[str, ...]:
    before: dict[str, Any] = msgspec.structs.asdict(old)
    after: dict[str, Any] = msgspec.structs.asdict(new)
    return tuple(key for key in after if before[key] != after[key])
