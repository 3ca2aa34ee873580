"""`ps`: the rows of its table and of its JSON, and why an instance is not ready. Pure. 80 columns are enough for the table."""

from collections.abc import Iterator

from minikube.cli.render.colors import STATE_COLOURS, paint
from minikube.cli.render.schemas import InstanceRow
from minikube.cli.render.table import GAP, age, columns, shorten
from minikube.durations import format_size
from minikube.model import InstanceView, PartView, ProcessState, Snapshot, is_completed, is_ready
from minikube.text import printable

NOT_STARTED = "not started by `up`: its profile was not active, or it was not named"
HEAD = ("NAME", "STATUS", "HEALTH", "PID", "RESTARTS", "UPTIME", "CPU", "MEM", "ADDRESS", "WHY")
HIDDEN_COLUMNS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"WHY"}),
    frozenset({"WHY", "CPU", "MEM"}),
    frozenset({"WHY", "CPU", "MEM", "PID"}),
    frozenset({"WHY", "CPU", "MEM", "PID", "UPTIME", "RESTARTS"}),
)
"""Sets of columns to hide; the first with which the table fits is used. Without WHY, reasons are lines below the table."""

WHY_LEAST_WIDTH = 30
"""A narrower column WHY would cut most reasons; shorter reasons need less."""


def instance_rows(snapshot: Snapshot, now: float) -> list[InstanceRow]:
    """Return the rows of `ps --json`: all instances with their usage, and why each is not ready."""
    usage = {usage.id: usage for usage in snapshot.usage if usage.memory}
    not_started = {service.name for service in snapshot.services if not service.chosen}
    return [
        InstanceRow(
            **{name: getattr(view, name) for name in InstanceView.__struct_fields__},
            ready=is_ready(view) or is_completed(view),
            why=why_not_ready(view, now)
            or (NOT_STARTED if view.service in not_started and view.state == "stopped" else ""),
            cpu=usage[view.id].cpu if view.id in usage else None,
            memory=usage[view.id].memory if view.id in usage else None,
        )
        for view in in_manifest_order(snapshot)
    ]


def ps_lines(snapshot: Snapshot, now: float, width: int = 0, *, colour: bool = False) -> Iterator[str]:
    """Yield the table of `minikube ps`, with as many columns as fit into `width` characters (0: no limit).

    Lines below the table give the reasons why instances, Redis and the registry are not ready.
    """
    rows, external = instance_rows(snapshot, now), external_services(snapshot)
    cells = [_cells(row, now, is_external=row.service in external) for row in rows]
    hidden = next((hidden for hidden in HIDDEN_COLUMNS if not width or _fits(cells, hidden, width)), HIDDEN_COLUMNS[-1])
    if not any(row.why for row in rows):
        hidden |= {"WHY"}
    shown = [index for index, name in enumerate(HEAD) if name not in hidden]
    head = [HEAD[index] for index in shown]
    shrink = head.index("WHY") if "WHY" in head else 0
    table = [[cell[index] for index in shown] for cell in cells]
    yield from columns(head, table, width=width, shrink=shrink, paint=_paint_state if colour else None)
    reasons = [(row.name, row.why) for row in rows] if "WHY" in hidden else []
    parts = [(part.name, f"{part_state(part)}: {part.detail}") for part in snapshot.parts if not part.is_well]
    for name, reason in reasons + parts:
        if reason:
            line = printable(f"  {name}: {reason}")
            yield shorten(line, width) if width else line


def external_services(snapshot: Snapshot) -> frozenset[str]:
    """Return the names of the services that other programs run: only the checks of their instances are known."""
    return frozenset(service.name for service in snapshot.services if service.kind == "external")


def _cells(row: InstanceRow, now: float, *, is_external: bool) -> tuple[str, ...]:
    """Return the cells of an instance's row, in the order of `HEAD`."""
    since = f" {age(row.check_since, now)}" if row.check_since else ""
    return (
        row.name,
        "external" if is_external else row.state,
        f"{row.check}{since}" if row.check else "-",
        str(row.pid) if row.pid else "-",
        str(row.restarts),
        age(row.started, now) if row.state.has_process and not is_external else "-",
        "-" if row.cpu is None else f"{row.cpu:.1f}%",
        "-" if row.memory is None else format_size(row.memory),
        row.local_address or "-",
        row.why,
    )


def _fits(cells: list[tuple[str, ...]], hidden: frozenset[str], width: int) -> bool:
    """Return whether the table fits into `width` characters when the columns in `hidden` are left out."""
    widths = [
        max(len(name), *(len(printable(cell[index])) for cell in cells)) if cells else len(name)
        for index, name in enumerate(HEAD)
        if name not in hidden
    ]
    if "WHY" not in hidden:
        widths[-1] = min(widths[-1], WHY_LEAST_WIDTH)
    return sum(widths) + len(GAP) * (len(widths) - 1) <= width


def _paint_state(cell: str) -> str:
    """Return a cell in the colour of the state that it begins with; unchanged where it begins with no state."""
    return paint(cell, STATE_COLOURS.get(cell.partition(" ")[0]), True)


def in_manifest_order(snapshot: Snapshot) -> list[InstanceView]:
    """Return the instances in the order of their services in the manifest, and replicas by number."""
    positions = {service.name: position for position, service in enumerate(snapshot.services)}
    last = len(positions)
    return sorted(
        snapshot.instances,
        # By length before name: web-2 comes before web-10.
        key=lambda view: (positions.get(view.service, last), view.service, len(view.name), view.name),
    )


def part_state(part: PartView) -> str:
    """Return the state of a backing service in a word or two: of its process, and of its check where that fails."""
    return f"{part.state}, {part.check}" if part.state is ProcessState.RUNNING and not part.is_well else part.state


def why_not_ready(instance: InstanceView, now: float) -> str:
    """Return a line of text that says why an instance is not ready; empty while it is, or after a stop command.

    For a task that ended with success, the text says only when its schedule starts it again.
    """
    if is_ready(instance) and not is_completed(instance):
        return instance.reason
    reasons = ["" if is_completed(instance) else instance.reason or (instance.exit if instance.state.has_ended else "")]
    if instance.state == "running" and instance.output and not instance.reason:
        reasons.append(instance.output.strip().partition("\n")[0])
    if instance.next_try > now and "next try" not in reasons[0]:
        reasons.append(f"next try in {age(now, instance.next_try)}")
    if instance.next_run:
        reasons.append(f"next run in {age(now, max(now, instance.next_run))}")
    return ", ".join(filter(None, reasons))
