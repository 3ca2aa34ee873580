"""`describe` and `status`: facts as lines of `name: value`. Pure."""

from collections import Counter
from collections.abc import Iterator

from minikube.cli.render.ps_table import external_services, instance_rows, why_not_ready
from minikube.cli.render.table import age, shorten
from minikube.control.client.messages import ServiceReply
from minikube.control.client.snapshot import dependency_texts
from minikube.durations import format_size
from minikube.model import InstanceView, PartView, Snapshot, Usage, is_completed
from minikube.text import printable, printable_line

LONGEST_OUTPUT = 200
"""Characters of a check's last output that are shown."""


def describe_lines(reply: ServiceReply, now: float) -> Iterator[str]:
    """Yield the text of `minikube describe`: the settings, instances, last lines and events of a service or instance."""
    service = reply.service
    if service:
        yield from _facts(
            printable(f"service {service.name}"),
            {
                "kind": service.kind,
                "command": service.command,
                "replicas": str(service.replicas),
                "register": service.register,
                "depends on": ", ".join(dependency_texts(service)),
                "needed by": ", ".join(reply.dependents),
                "schedule": service.schedule,
                "tags": ", ".join(service.tags),
                "groups": ", ".join(service.groups),
                "on exit": service.on_exit if service.on_exit != "keep" else "",
                **{key: _setting(value) for key, value in reply.settings.items()},
            },
        )
    usage = {usage.id: usage for usage in reply.usage}
    for instance in reply.instances:
        yield ""
        facts = _instance_facts(instance, usage.get(instance.id), now)
        yield from _facts(printable(f"instance {instance.name}"), facts)
        for line in instance.last_lines:
            yield f"    | {printable_line(line)}"
    if reply.events:
        yield ""
        yield "events"
        yield from (f"  {age(event.time, now):>7} ago  {printable(event.message)}" for event in reply.events)


def _setting(value: object) -> str:
    """Return the value of a manifest key as one line of text.

    In a table, values that are off (0 or empty) are left out.
    """
    match value:
        case dict():
            return ", ".join(f"{key} {_amount(key, item)}".strip() for key, item in value.items() if item)
        case list():
            return " ".join(map(str, value))
    return str(value)


def _amount(key: str, value: object) -> str:
    """Return the value of `key` in a table as text: a size for `memory`, empty for a switch that is on."""
    if key == "memory" and isinstance(value, int):
        return format_size(value)
    return "" if value is True else _setting(value)


def _instance_facts(instance: InstanceView, usage: Usage | None, now: float) -> dict[str, str]:
    """Return the details of an instance as title → text; the text is empty for an unknown one."""
    check = f"{instance.check} for {age(instance.check_since, now)}" if instance.check else ""
    output = instance.output.strip().replace("\n", " ")
    has_uptime = instance.started and instance.state.has_process
    return {
        "id": instance.id,
        "state": f"{instance.state} for {age(instance.since, now)}" if instance.since else instance.state,
        "why": why_not_ready(instance, now),
        "pid": str(instance.pid or ""),
        "address": instance.address,
        "published": instance.published,
        "ports": ", ".join(f"{name} {port}" for name, port in instance.ports.items()),
        "check": f"{check} ({instance.health})" if check and instance.health else check,
        "last check": f"{age(instance.checked, now)} ago: {shorten(output, LONGEST_OUTPUT)}"
        if instance.checked
        else "",
        "restarts": str(instance.restarts),
        "failed starts": f"{instance.failed_starts} in a row" if instance.failed_starts else "",
        "uptime": age(instance.started, now) if has_uptime else "",
        "last exit": instance.exit,
        "uses": f"{usage.cpu:.1f}% of a core, {format_size(usage.memory)}" if usage and usage.memory else "",
    }


def _facts(title: str, facts: dict[str, str]) -> Iterator[str]:
    """Yield a title, then a line for each detail that has a text."""
    yield title
    yield from (f"  {name + ':':<14} {printable(value)}" for name, value in facts.items() if value)


def status_lines(snapshot: Snapshot, control: str, now: float) -> Iterator[str]:
    """Yield the text of `minikube status`: the project, Redis, the registry, and each instance that is not ready.

    `control` is the URL of the control API.
    """
    rows, external = instance_rows(snapshot, now), external_services(snapshot)
    counts = Counter("external" if row.service in external else row.state for row in rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    facts = {
        "phase": f"{snapshot.phase} for {age(snapshot.started, now)}, pid {snapshot.pid}",
        "manifest": snapshot.manifest,
        "control API": control,
        **{part.name: _part(part, now) for part in snapshot.parts},
        "services": str(len(snapshot.services)),
        "instances": f"{sum(row.ready for row in rows)} of {len(rows)} ready" + (f" ({states})" if states else ""),
    }
    yield from _facts(printable(snapshot.project), facts)
    yield from (
        printable(f"  {row.name} is {row.state}: {row.why}") for row in rows if row.why and not is_completed(row)
    )


def _part(part: PartView, now: float) -> str:
    """Return the state of a backing service (Redis or the registry) as text."""
    since = f" for {age(part.since, now)}" if part.since else ""
    address = f" at {part.address}" if part.address else ""
    restarts = f", {part.restarts} restart{'' if part.restarts == 1 else 's'}" if part.restarts else ""
    detail = f": {part.detail}" if part.detail else ""
    # A process that runs but does not work: how long it has not worked is what matters.
    failing = f", {part.check} for {age(part.check_since, now)}" if part.state == "running" and not part.is_well else ""
    return f"{part.state}{since}{failing}{address}{restarts}{detail}"
