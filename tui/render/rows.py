"""The table's rows, made from a snapshot: grouping by service, sorting, folding, filters.

A row keeps its key across snapshots, also when the service is scaled, so that the cursor can stay on it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from minikube.control.client.names import group_names
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
"""States from the most to the least severe; a service is shown with the most severe state among its instances."""

SORT_ORDERS = ("", "problems first", "name", "CPU", "memory", "restarts")
"""The orders in which services can be sorted; the empty one is the manifest's order."""

_DIGITS = re.compile(r"(\d+)")


class Row(NamedTuple):
    """One line of the table: a service, or one of its instances."""

    key: str
    """`s:NAME` for a service, `i:ID` for an instance."""
    service: ServiceView
    instance: InstanceView | None = None
    """The instance that the row shows; a service with exactly one instance shows it in the service's own row."""
    instances: tuple[InstanceView, ...] = ()
    """All instances of a service's row; the one of an instance's row."""
    depth: int = 0
    """1 for an instance below its service's row."""
    folded: bool = False
    """Whether the user hid the rows of the service's instances."""

    @property
    def target(self) -> str:
        """The name of the service or instance that commands and logs are for."""
        return self.instance.name if self.depth and self.instance else self.service.name


class InstanceCounts(NamedTuple):
    """The number of instances in each condition. Every instance is counted in `total` and in exactly one other field."""

    total: int = 0
    passing: int = 0
    running: int = 0
    """Running without a check."""
    starting: int = 0
    critical: int = 0
    failed: int = 0
    maintenance: int = 0
    completed: int = 0
    """Ended with success."""
    stopped: int = 0


def natural_sort_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that orders numbers by value: `product-2` before `product-10`."""
    return tuple((int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(name) if part)


def has_problem(instance: InstanceView) -> bool:
    """Return whether an instance needs attention: a critical check, a failed process, or an exit with an error."""
    if instance.check == CheckState.CRITICAL or instance.state.has_failed:
        return True
    return instance.state == ProcessState.EXITED and instance.exit not in ("", "exit 0")


def count_instances(instances: Iterable[InstanceView]) -> InstanceCounts:
    """Return the counts that the header shows."""
    counts = dict.fromkeys(InstanceCounts._fields, 0)
    for instance in instances:
        counts["total"] += 1
        counts[_condition(instance)] += 1
    return InstanceCounts(**counts)


def _condition(instance: InstanceView) -> str:
    """Return the name of the `InstanceCounts` field for an instance: by its check if its process runs, else by its state."""
    if instance.state.has_failed:
        return "failed"
    if instance.state == ProcessState.EXITED:
        return "failed" if has_problem(instance) else "completed"
    if instance.state in (ProcessState.STOPPED, ProcessState.STOPPING):
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


def group_state(instances: Iterable[InstanceView]) -> ProcessState:
    """Return the most severe state among the instances of a service."""
    states = {instance.state for instance in instances}
    return next((state for state in SEVERITY if state in states), ProcessState.STOPPED)


def build_rows(
    snapshot: Snapshot,
    *,
    pattern: str = "",
    problems_only: bool = False,
    folded: Collection[str] = (),
    order: str = "",
    keep: str = "",
) -> tuple[Row, ...]:
    """Return the table's rows: services in the `order` (one of `SORT_ORDERS`), instances by name.

    `pattern` keeps the rows that contain each of its words in their name, kind, tags, groups (`@backend`), id, state, check,
    address or pid; case does not matter. `problems_only` keeps instances for which `has_problem` holds. `folded` names the
    services with hidden instances. The row with the key `keep` passes both filters.
    """
    instances: dict[str, list[InstanceView]] = {}
    for instance in snapshot.instances:
        instances.setdefault(instance.service, []).append(instance)
    services = list(snapshot.services)
    known = {service.name for service in services}
    # Services that registered themselves without being in the manifest.
    services += [ServiceView(name=name, kind="external") for name in sorted(instances.keys() - known)]
    if order:
        services.sort(key=_sort_key(order, instances, snapshot.usage))
    words = pattern.lower().split()

    def passes(key: str, service: ServiceView, instance: InstanceView | None) -> bool:
        """Return whether the filters let the row of a service, or of its instance, pass."""
        if key == keep:
            return True
        if problems_only and not (instance and has_problem(instance)):
            return False
        return not words or _matches(words, service, instance)

    rows: list[Row] = []
    for service in services:
        rows += _rows_of(service, instances.get(service.name, []), passes, service.name in folded)
    return tuple(rows)


def _sort_key(
    order: str, instances: Mapping[str, Sequence[InstanceView]], usage: Iterable[Usage]
) -> Callable[[ServiceView], tuple[object, ...]]:
    """Return a sort key under which the largest value comes first; equal ones are sorted by name."""
    usage_by_id = {sample.id: sample for sample in usage}

    def key(service: ServiceView) -> tuple[object, ...]:
        """Return the sort key of a service."""
        own = instances.get(service.name, ())
        samples = [usage_by_id[instance.id] for instance in own if instance.pid and instance.id in usage_by_id]
        weight = {
            "problems first": any(has_problem(instance) for instance in own),
            "CPU": sum(sample.cpu for sample in samples),
            "memory": sum(sample.memory for sample in samples),
            "restarts": sum(instance.restarts for instance in own),
        }.get(order, 0)
        # "problems first" otherwise keeps the manifest's order: the sort is stable.
        return -weight, natural_sort_key(service.name) if order != "problems first" else ()

    return key


def _rows_of(
    service: ServiceView,
    instances: list[InstanceView],
    passes: Callable[[str, ServiceView, InstanceView | None], bool],
    folded: bool,
) -> list[Row]:
    """Return the rows of one service that pass the filters."""
    key = f"s:{service.name}"
    if len(instances) <= 1:
        single = instances[0] if instances else None
        return [Row(key, service, single, tuple(instances))] if passes(key, service, single) else []
    instances = sorted(instances, key=lambda instance: natural_sort_key(instance.name))
    head = Row(key, service, None, tuple(instances), folded=folded)
    shown = [
        Row(f"i:{instance.id}", service, instance, (instance,), depth=1)
        for instance in instances
        if passes(f"i:{instance.id}", service, instance)
    ]
    # The head has no state of its own: it is shown with its instances, or where it passes by its key.
    if not shown and not passes(key, ServiceView(""), None):
        return []
    return [head] if folded else [head, *shown]


def _matches(words: list[str], service: ServiceView, instance: InstanceView | None) -> bool:
    """Return whether a service, or its instance, contains each of the words."""
    fields = [service.name, service.kind, *service.tags, *group_names([service])]
    if instance is not None:
        fields += [
            instance.name,
            instance.id,
            instance.state,
            instance.check or "",
            instance.address,
            instance.published,
        ]
        fields.append(str(instance.pid))
    text = "\n".join(fields).lower()
    return all(word in text for word in words)


def without_covered_instances(rows: Iterable[Row]) -> list[Row]:
    """Return `rows` without the instances whose service is also in `rows`: a command for a service includes its instances."""
    rows = list(rows)
    services = {row.service.name for row in rows if not row.depth}
    return [row for row in rows if not row.depth or row.service.name not in services]
