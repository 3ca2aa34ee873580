"""`@backend` and `@tag:setup`: names that stand for all services of a group, or with a tag. Pure.

Commands replace them by the names of the services, as the running manifest has them; the control API takes none.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from minikube.errors import MinikubeError, NotFound, UsageError

MARK = "@"
TAG_MARK = "@tag:"


class Member(Protocol):
    """A service, as far as it is used here: `manifest.ServiceSpec` and `model.ServiceView`."""

    @property
    def name(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


def is_group(name: str) -> bool:
    """Return whether a name stands for several services. The name of a service cannot begin so."""
    return name.startswith(MARK)


def group_names(services: Iterable[Member]) -> list[str]:
    """Return all names that stand for services here: `@group`, then `@tag:tag`, each once."""
    services = list(services)
    groups = [f"{MARK}{group}" for service in services for group in service.groups]
    return list(dict.fromkeys([*groups, *(f"{TAG_MARK}{tag}" for service in services for tag in service.tags)]))


def members(services: Iterable[Member], name: str) -> tuple[str, ...]:
    """Return the names of the services that `@group` or `@tag:tag` stands for, in the order of `services`."""
    if name.startswith(TAG_MARK):
        return tuple(service.name for service in services if name.removeprefix(TAG_MARK) in service.tags)
    return tuple(service.name for service in services if name.removeprefix(MARK) in service.groups)


def expand_names(
    services: Sequence[Member], names: Iterable[str], error: type[MinikubeError] = NotFound
) -> tuple[str, ...]:
    """Return `names` with each group replaced by its services, and each name once.

    Raises `error` for a group or tag that no service has.
    """
    names = tuple(names)
    for name in names:
        if is_group(name) and not members(services, name):
            raise error(_unknown(services, name))
    return known_names(services, names)


def known_names(services: Sequence[Member], names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` as `expand_names`; a group that no service is in stands for nothing."""
    found = (one for name in names for one in (members(services, name) if is_group(name) else (name,)))
    return tuple(dict.fromkeys(found))


def single_name(services: Sequence[Member], name: str) -> str:
    """Return `name`, or the only service of a group. Raises NotFound for an unknown group, UsageError for several services."""
    found = expand_names(services, (name,))
    if len(found) > 1:
        from minikube.manifest.diagnostics import join_words

        raise UsageError(f"{name}: expected one service, got {join_words(found, 'and')} — name one of them")
    return found[0]


def _unknown(services: Sequence[Member], name: str) -> str:
    from minikube.manifest.diagnostics import did_you_mean  # late: commands that find their names need no manifest

    what = f"no service has the tag {name.removeprefix(TAG_MARK)}" if name.startswith(TAG_MARK) else "no such group"
    known = group_names(services)
    if hint := did_you_mean(name, known):
        return f"{name}: {what}{hint}"
    if name.removeprefix(MARK) in {service.name for service in services}:
        return f"{name}: {what} (did you mean the service {name.removeprefix(MARK)}?)"
    listed = f"there are: {', '.join(known)}" if known else "services get one with groups = […]"
    return f"{name}: {what} ({listed})"
