"""The board as text (floor 4, pure): `ps`, `status` and `describe`. 80 columns are enough for `ps`."""

from collections import Counter
from collections.abc import Iterator

from minikube.cli.render.colors import STATE_COLOURS, paint
from minikube.cli.render.schemas import InstanceRow
from minikube.cli.render.table import GAP, age, columns, shorten
from minikube.control.client.messages import ServiceReply
from minikube.durations import format_size
from minikube.model import InstanceView, PartView, Snapshot, Usage, is_ready
from minikube.text import printable, printable_line

NOT_CHOSEN = "not chosen at `up`: no active profile, or not named"
PS_HEAD = ("NAME", "STATUS", "HEALTH", "PID", "RESTARTS", "UPTIME", "CPU", "MEM", "ADDRESS", "WHY")
PS_LEAVES_OUT: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"WHY"}),
    frozenset({"WHY", "CPU", "MEM"}),
    frozenset({"WHY", "CPU", "MEM", "PID"}),
    frozenset({"WHY", "CPU", "MEM", "PID", "UPTIME", "RESTARTS"}),
)
"""What a narrower and narrower terminal is spared. Reasons without a column are lines below."""

WHY_LEAST = 30
"""Characters that a reason needs for a column of its own, unless it is shorter."""

LIVE = ("starting", "running", "stopping")


def ps_rows(snapshot: Snapshot, now: float) -> list[InstanceRow]:
    """What `ps --json` prints: every instance with its usage and why it is not ready."""
    usage = {one.id: one for one in snapshot.usage if one.memory}
    idle = {service.name for service in snapshot.services if not service.chosen}
    return [
        InstanceRow(
            **{name: getattr(one, name) for name in InstanceView.__struct_fields__},
            ready=is_ready(one),
            why=why_not_ready(one, now) or (NOT_CHOSEN if one.service in idle and one.state == "stopped" else ""),
            cpu=usage[one.id].cpu if one.id in usage else None,
            memory=usage[one.id].memory if one.id in usage else None,
        )
        for one in ordered(snapshot)
    ]


def ps_lines(snapshot: Snapshot, now: float, width: int = 0, *, colour: bool = False) -> Iterator[str]:
    """One line an instance, as many columns as `width` has room for (0: all), and why those that are not ready are not."""
    rows = ps_rows(snapshot, now)
    cells = [_ps_cells(row, now) for row in rows]
    out = next((out for out in PS_LEAVES_OUT if not width or _ps_fits(cells, out, width)), PS_LEAVES_OUT[-1])
    if not any(row.why for row in rows):
        out |= {"WHY"}
    shown = [index for index, name in enumerate(PS_HEAD) if name not in out]
    head = [PS_HEAD[index] for index in shown]
    give = head.index("WHY") if "WHY" in head else 0
    table = [[cell[index] for index in shown] for cell in cells]
    paint = _paint_states if colour else None
    yield from columns(head, table, width=width, give=give, paint=paint)
    reasons = [(row.name, row.why) for row in rows] if "WHY" in out else []
    parts = [(part.name, f"{part.state}: {part.detail}") for part in snapshot.parts if part.state != "running"]
    for name, reason in reasons + parts:
        if reason:
            line = printable(f"  {name}: {reason}")
            yield shorten(line, width) if width else line


def _ps_cells(row: InstanceRow, now: float) -> tuple[str, ...]:
    since = f" {age(row.check_since, now)}" if row.check_since else ""
    return (
        row.name,
        row.state,
        f"{row.check}{since}" if row.check else "-",
        str(row.pid) if row.pid else "-",
        str(row.restarts),
        age(row.started, now) if row.state in LIVE else "-",
        "-" if row.cpu is None else f"{row.cpu:.1f}%",
        "-" if row.memory is None else format_size(row.memory),
        row.address or "-",
        row.why,
    )


def _ps_fits(cells: list[tuple[str, ...]], out: frozenset[str], width: int) -> bool:
    sizes = [
        max(len(name), *(len(printable(cell[index])) for cell in cells)) if cells else len(name)
        for index, name in enumerate(PS_HEAD)
        if name not in out
    ]
    if "WHY" not in out:
        sizes[-1] = min(sizes[-1], WHY_LEAST)
    return sum(sizes) + len(GAP) * (len(sizes) - 1) <= width


def _paint_states(cell: str) -> str:
    """Colour for a cell that begins with a state's name."""
    return paint(cell, STATE_COLOURS.get(cell.partition(" ")[0]), True)


def ordered(snapshot: Snapshot) -> list[InstanceView]:
    """Instances in the manifest's order of their services, replicas by number."""
    places = {service.name: place for place, service in enumerate(snapshot.services)}
    last = len(places)
    return sorted(
        snapshot.instances, key=lambda one: (places.get(one.service, last), one.service, len(one.name), one.name)
    )


def why_not_ready(instance: InstanceView, now: float) -> str:
    """One line; empty for what runs, passes and is up to date, or was stopped on purpose."""
    if is_ready(instance):
        return instance.reason
    told = [instance.reason or (instance.exit if instance.state.has_ended else "")]
    if instance.state == "running" and instance.output and not instance.reason:
        told.append(instance.output.strip().partition("\n")[0])
    if instance.next_try > now and "next try" not in told[0]:
        told.append(f"next try in {age(now, instance.next_try)}")
    if instance.next_run:
        told.append(f"next run in {age(now, max(now, instance.next_run))}")
    return ", ".join(part for part in told if part)


def describe_lines(reply: ServiceReply, now: float) -> Iterator[str]:
    """Everything the supervisor tells about one service or instance."""
    service = reply.service
    if service:
        yield from _facts(
            printable(f"service {service.name}"),
            {
                "kind": service.kind,
                "command": service.command,
                "replicas": str(service.replicas),
                "register": service.register,
                "depends on": ", ".join(f"{name} ({condition})" for name, condition in service.depends_on.items()),
                "needed by": ", ".join(reply.dependents),
                "schedule": service.schedule,
                "tags": ", ".join(service.tags),
                **{key: _setting(value) for key, value in reply.settings.items()},
            },
        )
    usage = {one.id: one for one in reply.usage}
    for instance in reply.instances:
        yield ""
        yield from _facts(
            printable(f"instance {instance.name}"), _instance_facts(instance, usage.get(instance.id), now)
        )
        for line in instance.last_lines:
            yield f"    | {printable_line(line)}"
    if reply.events:
        yield ""
        yield "events"
        yield from (f"  {age(event.time, now):>7} ago  {printable(event.message)}" for event in reply.events)


def _setting(value: object) -> str:
    """A manifest's key on one line. What is off (0, or empty) is left out, but for exit codes in a list."""
    match value:
        case dict():
            return ", ".join(f"{key} {_amount(key, one)}".strip() for key, one in value.items() if one)
        case list():
            return " ".join(map(str, value))
    return str(value)


def _amount(key: str, value: object) -> str:
    if key == "memory" and isinstance(value, int):
        return format_size(value)
    return "" if value is True else _setting(value)


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
        "failed starts": f"{instance.failed_starts} in a row" if instance.failed_starts else "",
        "uptime": age(instance.started, now) if instance.started and instance.state in LIVE else "",
        "last exit": instance.exit,
        "uses": f"{usage.cpu:.1f}% of a core, {format_size(usage.memory)}" if usage and usage.memory else "",
    }


def _facts(title: str, facts: dict[str, str]) -> Iterator[str]:
    yield title
    yield from (f"  {name + ':':<14} {printable(value)}" for name, value in facts.items() if value)


def status_lines(snapshot: Snapshot, control: str, now: float) -> Iterator[str]:
    """The project as a whole; who is not ready follows, with the reason."""
    rows = ps_rows(snapshot, now)
    counts = Counter(row.state for row in rows)
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
    yield from (printable(f"  {row.name} is {row.state}: {row.why}") for row in rows if row.why)


def _part(part: PartView, now: float) -> str:
    restarts = f", {part.restarts} restarts" if part.restarts else ""
    detail = f": {part.detail}" if part.detail else ""
    since = f" for {age(part.since, now)}" if part.since else ""
    return f"{part.state}{since}{f' at {part.address}' if part.address else ''}{restarts}{detail}"
