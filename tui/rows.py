"""From a snapshot to the rows of the table (floor 4): grouping, order, folding, filter, problems only.

Pure: no widget is known here. A row's key outlives updates, scaling included, so that the cursor can stay on it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from minikube.model import CheckState, InstanceView, ProcessState, ServiceView, Snapshot, Usage

SEVERITY = (
    ProcessState.FATAL,
    ProcessState.BACKOFF,
    ProcessState.STOPPING,
    ProcessState.PENDING,
    ProcessState.STARTING,
    ProcessState.EXITED,
    ProcessState.STOPPED,
    ProcessState.RUNNING,
)
"""The state of a group is the first of these that one of its instances is in."""

_DIGITS = re.compile(r"(\d+)")


class Row(NamedTuple):
    """One line of the table: a service, or one of its instances when it has several (`depth` 1).

    A service of a single instance is one row that carries the `instance`.
    """

    key: str
    service: ServiceView
    instance: InstanceView | None = None
    members: tuple[InstanceView, ...] = ()
    depth: int = 0
    folded: bool = False

    @property
    def target(self) -> str:
        """The name that actions and logs are asked for."""
        return self.instance.name if self.depth and self.instance else self.service.name


class Counts(NamedTuple):
    """How many instances stand where: each is counted once, a check says more than a process."""

    total: int = 0
    passing: int = 0
    running: int = 0
    starting: int = 0
    critical: int = 0
    failed: int = 0
    maintenance: int = 0
    stopped: int = 0


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key under which `product-2` comes before `product-10`."""
    return tuple((int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(name) if part)


def has_problem(instance: InstanceView) -> bool:
    """Whether somebody should look: failing, given up, waiting to be tried again, or ended with an error."""
    if instance.check == CheckState.CRITICAL or instance.state.has_failed:
        return True
    return instance.state == ProcessState.EXITED and instance.exit not in ("", "exit 0")


def count(instances: Iterable[InstanceView]) -> Counts:
    """The header's counts."""
    tally = dict.fromkeys(Counts._fields, 0)
    for instance in instances:
        tally["total"] += 1
        tally[_standing(instance)] += 1
    return Counts(**tally)


def _standing(instance: InstanceView) -> str:
    if instance.state.has_failed:
        return "failed"
    if instance.state in (ProcessState.STOPPED, ProcessState.STOPPING, ProcessState.EXITED):
        return "failed" if has_problem(instance) else "stopped"
    if instance.check == CheckState.CRITICAL:
        return "critical"
    if instance.check == CheckState.MAINTENANCE:
        return "maintenance"
    if instance.check == CheckState.PASSING:
        return "passing"
    if instance.state == ProcessState.RUNNING and instance.check is None:
        return "running"
    return "starting"


def worst(members: Iterable[InstanceView]) -> ProcessState:
    """The state that a group is shown with."""
    present = {member.state for member in members}
    return next((state for state in SEVERITY if state in present), ProcessState.STOPPED)


ORDERS = ("", "problems first", "name", "CPU", "memory", "restarts")
"""What the services can be ordered by; as in the manifest is the first."""


def build(
    snapshot: Snapshot, *, pattern: str = "", problems: bool = False, folded: Collection[str] = (), order: str = ""
) -> tuple[Row, ...]:
    """The rows to show, services in the `order` (one of `ORDERS`), instances by name with numbers as numbers.

    `pattern` keeps rows that contain each of its words in name, state, check, address, tag or pid, whatever the case.
    """
    members: dict[str, list[InstanceView]] = {}
    for instance in snapshot.instances:
        members.setdefault(instance.service, []).append(instance)
    services = list(snapshot.services)
    known = {service.name for service in services}
    services += [ServiceView(name=name, kind="external") for name in sorted(members.keys() - known)]
    if order:
        services.sort(key=_sort_key(order, members, snapshot.usage))
    words = pattern.lower().split()
    rows: list[Row] = []
    for service in services:
        rows += _rows_of(service, members.get(service.name, []), words, problems, service.name in folded)
    return tuple(rows)


def _sort_key(
    order: str, members: Mapping[str, Sequence[InstanceView]], usage: Iterable[Usage]
) -> Callable[[ServiceView], tuple[object, ...]]:
    """The greatest and the worst first, by name where that is the same."""
    used = {one.id: one for one in usage}

    def key(service: ServiceView) -> tuple[object, ...]:
        own = members.get(service.name, ())
        figures = [used[one.id] for one in own if one.pid and one.id in used]
        weight = {
            "problems first": sum(has_problem(one) for one in own) > 0,
            "CPU": sum(one.cpu for one in figures),
            "memory": sum(one.memory for one in figures),
            "restarts": sum(one.restarts + one.failed_starts for one in own),
        }.get(order, 0)
        return -weight, natural(service.name) if order != "problems first" else ()

    return key


def _rows_of(
    service: ServiceView, members: list[InstanceView], words: list[str], problems: bool, folded: bool
) -> list[Row]:
    key = f"s:{service.name}"
    if len(members) <= 1:
        single = members[0] if members else None
        if problems and not (single and has_problem(single)):
            return []
        if words and not _matches(words, service, single):
            return []
        return [Row(key, service, single, tuple(members))]
    members = sorted(members, key=lambda member: natural(member.name))
    shown = [
        member
        for member in members
        if (not problems or has_problem(member)) and (not words or _matches(words, service, member))
    ]
    if not shown:
        return []
    head = Row(key, service, None, tuple(members), folded=folded)
    if folded:
        return [head]
    return [head, *(Row(f"i:{member.id}", service, member, (member,), depth=1) for member in shown)]


def _matches(words: list[str], service: ServiceView, instance: InstanceView | None) -> bool:
    hay = [service.name, service.kind, *service.tags]
    if instance is not None:
        hay += [instance.name, instance.id, instance.state, instance.check or "", instance.address, str(instance.pid)]
    text = "\n".join(hay).lower()
    return all(word in text for word in words)


def outermost(rows: Iterable[Row]) -> list[Row]:
    """The rows without those instances whose whole service is among them."""
    rows = list(rows)
    whole = {row.service.name for row in rows if not row.depth}
    return [row for row in rows if not row.depth or row.service.name not in whole]
