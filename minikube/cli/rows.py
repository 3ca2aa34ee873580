"""The board as text (floor 4, pure): `ps` and `describe`. 80 columns are enough for `ps`."""

from collections.abc import Iterator

from minikube.cli.table import age, columns, shorten
from minikube.client.messages import ServiceReply
from minikube.durations import format_size
from minikube.model import InstanceView, Snapshot, Usage
from minikube.text import printable, printable_line

PS_HEAD = ("NAME", "STATE", "CHECK", "PID", "ADDRESS", "RESTARTS", "UPTIME")
LIVE = ("starting", "running", "stopping")


def ps_lines(snapshot: Snapshot, now: float, width: int = 0) -> Iterator[str]:
    """One line an instance, then why those that are not ready are not."""
    rows = [
        (
            instance.name,
            instance.state,
            instance.check or "-",
            str(instance.pid) if instance.pid else "-",
            instance.address or "-",
            str(instance.restarts),
            age(instance.started, now) if instance.state in LIVE else "-",
        )
        for instance in ordered(snapshot)
    ]
    yield from columns(PS_HEAD, rows, width=width)
    reasons = [(instance.name, why_not_ready(instance, now)) for instance in ordered(snapshot)]
    parts = [(part.name, f"{part.state}: {part.detail}") for part in snapshot.parts if part.state != "running"]
    for name, reason in reasons + parts:
        if reason:
            line = printable(f"  {name}: {reason}")
            yield shorten(line, width) if width else line


def ordered(snapshot: Snapshot) -> list[InstanceView]:
    """Instances in the manifest's order of their services, replicas by number."""
    places = {service.name: place for place, service in enumerate(snapshot.services)}
    last = len(places)
    return sorted(
        snapshot.instances, key=lambda one: (places.get(one.service, last), one.service, len(one.name), one.name)
    )


def why_not_ready(instance: InstanceView, now: float) -> str:
    """One line; empty for what runs and passes, or was stopped on purpose."""
    if instance.state == "running" and instance.check in (None, "passing"):
        return ""
    told = [instance.reason or (instance.exit if instance.state in ("backoff", "fatal", "exited") else "")]
    if instance.state == "running" and instance.output and not instance.reason:
        told.append(instance.output.strip().partition("\n")[0])
    if instance.next_try > now:
        told.append(f"next try in {age(now, instance.next_try)}")
    return ", ".join(part for part in told if part)


def describe_lines(reply: ServiceReply, now: float) -> Iterator[str]:
    """Everything the supervisor tells about one service or instance."""
    service = reply.service
    if service:
        yield from _facts(
            printable(service.name),
            {
                "kind": service.kind,
                "command": service.command,
                "replicas": str(service.replicas),
                "register": service.register,
                "depends on": ", ".join(f"{name} ({condition})" for name, condition in service.depends_on.items()),
                "needed by": ", ".join(reply.dependents),
                "tags": ", ".join(service.tags),
            },
        )
    usage = {one.id: one for one in reply.usage}
    for instance in reply.instances:
        yield ""
        yield from _facts(printable(instance.name), _instance_facts(instance, usage.get(instance.id), now))
        for line in instance.last_lines:
            yield f"    | {printable_line(line)}"
    if reply.events:
        yield ""
        yield "events"
        yield from (f"  {age(event.time, now):>7} ago  {printable(event.message)}" for event in reply.events)


def _instance_facts(instance: InstanceView, usage: Usage | None, now: float) -> dict[str, str]:
    check = f"{instance.check} for {age(instance.check_since, now)}" if instance.check else ""
    last = instance.output.strip().replace("\n", " ")
    return {
        "id": instance.id,
        "state": f"{instance.state} for {age(instance.since, now)}" if instance.since else instance.state,
        "why": why_not_ready(instance, now),
        "pid": str(instance.pid or ""),
        "address": instance.address,
        "check": f"{check} ({instance.health})" if check and instance.health else check,
        "last check": f"{age(instance.checked, now)} ago: {shorten(last, 200)}" if instance.checked else "",
        "restarts": str(instance.restarts),
        "uptime": age(instance.started, now) if instance.state in LIVE else "",
        "last exit": instance.exit,
        "uses": f"{usage.cpu:.1f}% of a core, {format_size(usage.memory)}" if usage else "",
    }


def _facts(title: str, facts: dict[str, str]) -> Iterator[str]:
    yield title
    yield from (f"  {name + ':':<12} {printable(value)}" for name, value in facts.items() if value)
