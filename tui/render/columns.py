"""The table's columns: which of them fit a width, and the text of each cell."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from minikube.model import CheckState, InstanceView, ProcessState, Usage
from tui.render.format import (
    CHECK_BADGES,
    PROCESS_BADGES,
    format_age,
    format_bytes,
    format_check_age,
    format_duration,
    format_percent,
    process_badge,
    single_line,
    sparkline,
)
from tui.render.rows import Row, group_state, has_problem

WIDE_COLUMNS = 110
"""From this terminal width on, columns are two cells apart."""


class Column(NamedTuple):
    """A column of the table; widths are in terminal cells."""

    key: str
    title: str
    min_width: int
    drop_order: int = 0
    """On a narrow terminal the column with the highest number is dropped first."""
    align_right: bool = False
    max_width: int = 0
    """The largest width that the column may get when there is room; 0: it does not grow."""


class Cell(NamedTuple):
    """The text of one cell, and the name of its style."""

    text: str
    style: str = "plain"


class RenderContext(NamedTuple):
    """The data for rendering a row besides the row itself."""

    now: float = 0.0
    """Seconds since the epoch; ages are measured from it."""
    usage: Mapping[str, Usage] = {}
    """CPU and memory by instance id."""
    cpu_history: Mapping[str, Sequence[float]] = {}
    """Recent CPU usage by instance id, oldest first."""
    in_flight: Collection[str] = ()
    """Services and instances with an unanswered command."""
    marked: Collection[str] = ()
    """Keys of the rows that the user marked."""


COLUMNS = (
    Column("name", "SERVICE", 14, drop_order=-1, max_width=34),
    Column("state", "STATE", 10),
    Column("check", "CHECK", 10, drop_order=1),
    Column("last", "AGO", 4, drop_order=6, align_right=True),
    Column("address", "ADDRESS", 15, drop_order=2, max_width=22),
    Column("pid", "PID", 7, drop_order=8, align_right=True),
    Column("restarts", "↻", 3, drop_order=5, align_right=True),
    Column("up", "UP", 6, drop_order=4, align_right=True),
    Column("cpu", "CPU%", 4, drop_order=3, align_right=True),
    Column("spark", "", 8, drop_order=9),
    Column("memory", "MEM", 5, drop_order=3, align_right=True),
    Column("output", "LAST OUTPUT", 16, drop_order=7, max_width=10_000),
)


def fit_columns(width: int, rows: Sequence[Row]) -> list[tuple[Column, int]]:
    """Return the columns that fit `width`, in order, each with its width.

    Spare width goes to the name, then to the address, then to the last output. `rows` are the rows to show.
    """
    shown = list(COLUMNS)
    gap = column_gap(width)
    while len(shown) > 1 and _total_width(shown, gap) > width:
        shown.remove(max(shown, key=lambda column: column.drop_order))
    spare = max(0, width - _total_width(shown, gap))
    widths = {column.key: column.min_width for column in shown}
    for key, wanted in (
        ("name", max((len(row.target) + 4 + 2 * row.depth for row in rows), default=0)),
        ("address", max((len(row.instance.local_address) for row in rows if row.instance), default=0)),
        ("output", width),
    ):
        column = next((column for column in shown if column.key == key), None)
        if column is not None:
            growth = min(spare, max(0, min(wanted, column.max_width) - column.min_width))
            widths[key] += growth
            spare -= growth
    return [(column, widths[column.key]) for column in shown]


def column_gap(width: int) -> int:
    """Return the number of cells between two columns on a terminal of this width."""
    return 2 if width >= WIDE_COLUMNS else 1


def _total_width(columns: Sequence[Column], gap: int) -> int:
    """Return the least width of these columns with their gaps."""
    return sum(column.min_width for column in columns) + gap * (len(columns) - 1)


def render_cell(key: str, row: Row, context: RenderContext) -> Cell:
    """Return the cell of the column `key` in this row."""
    if key == "name":
        return _name_cell(row, context)
    if row.instance is None:
        return _service_cell(key, row, context)
    if key == "state" and row.service.kind == "external":
        badge = process_badge(row.instance, is_external=True)
        return Cell(str(badge), badge.style)
    return _instance_cell(key, row.instance, context)


def _name_cell(row: Row, context: RenderContext) -> Cell:
    """Return the name with the symbols for folding, marks and commands in flight."""
    if row.depth:
        lead = "   └ "
    elif row.instance is None and row.instances:
        lead = " ▸ " if row.folded else " ▾ "
    else:
        lead = "   "
    if row.key in context.marked:
        lead = "◉" + lead[1:]
    tail = " ⟳" if row.target in context.in_flight else ""
    return Cell(f"{lead}{single_line(row.target)}{tail}", "muted" if row.service.kind == "external" else "name")


def _instance_cell(key: str, instance: InstanceView, context: RenderContext) -> Cell:
    """Return the cell of the column `key` for an instance."""
    running = instance.pid > 0
    match key:
        case "state":
            badge = PROCESS_BADGES[instance.state]
            if instance.state == ProcessState.EXITED and has_problem(instance):
                return Cell(str(badge), "bad")
            return Cell(str(badge), badge.style)
        case "check":
            if instance.check is None:
                return Cell("–", "muted")
            badge = CHECK_BADGES[instance.check]
            return Cell(str(badge), badge.style)
        case "last":
            return Cell(format_check_age(instance.checked, context.now), "muted")
        case "address":
            return Cell(
                single_line(instance.local_address), "info" if instance.check == CheckState.PASSING else "muted"
            )
        case "pid":
            return Cell(str(instance.pid) if running else "", "muted")
        case "restarts":
            return Cell(str(instance.restarts), "warn" if instance.restarts else "muted")
        case "up":
            return Cell(format_age(instance.started, context.now) if running else "")
        case "output":
            return instance_reason(instance, context.now)
        case _:
            return _usage_cell(key, (instance.id,) if running else (), context)


def instance_reason(instance: InstanceView, now: float) -> Cell:
    """Return the most important line about an instance, as a cell.

    It is the reason why it is not ready, else the output of its last check, else how its last process ended.
    """
    wait = f" · again in {format_duration(instance.next_try - now)}" if instance.next_try > now else ""
    if instance.next_run > now:
        wait += f" · next run in {format_duration(instance.next_run - now)}"
    if has_problem(instance) or instance.check == CheckState.CRITICAL:
        text = instance.reason or instance.output or instance.exit
        return Cell(single_line(text) + wait, "warn" if instance.state == ProcessState.BACKOFF else "bad")
    if instance.reason:
        return Cell(single_line(instance.reason) + wait, "info")
    return Cell((single_line(instance.output or instance.exit) + wait).removeprefix(" · "), "muted")


def row_reason(row: Row, context: RenderContext) -> Cell:
    """Return `instance_reason` of the row's instance, or of the first instance of the service that has a problem."""
    return render_cell("output", row, context)


def _service_cell(key: str, row: Row, context: RenderContext) -> Cell:
    """Return the cell of the column `key` for a service with several instances, or with none."""
    if not row.instances:
        return Cell("■ no copies", "muted") if key == "state" else Cell("")
    match key:
        case "state" if row.service.kind == "external":
            is_bad = any(instance.check == CheckState.CRITICAL for instance in row.instances)
            return Cell("□ external", "bad" if is_bad else "muted")
        case "state":
            badge = PROCESS_BADGES[group_state(row.instances)]
            return Cell(str(badge), badge.style)
        case "check":
            checked = [instance for instance in row.instances if instance.check is not None]
            if not checked:
                return Cell("–", "muted")
            passing = sum(instance.check == CheckState.PASSING for instance in checked)
            symbol, style = ("✓", "ok") if passing == len(checked) else ("✗", "bad") if not passing else ("◒", "warn")
            return Cell(f"{symbol} {passing}/{len(checked)}", style)
        case "restarts":
            count = sum(instance.restarts for instance in row.instances)
            return Cell(str(count), "warn" if count else "muted")
        case "cpu" | "memory" | "spark":
            return _usage_cell(key, tuple(instance.id for instance in row.instances if instance.pid), context)
        case "output":
            failing = next((instance for instance in row.instances if has_problem(instance)), None)
            if failing is None:
                return Cell("")
            text, style = instance_reason(failing, context.now)
            return Cell(f"{single_line(failing.name)}: {text}", style)
        case _:
            return Cell("")


def _usage_cell(key: str, ids: Sequence[str], context: RenderContext) -> Cell:
    """Return the `cpu`, `memory` or `spark` (sparkline of CPU usage) cell for the running instances with these ids."""
    if key == "spark":
        history = context.cpu_history.get(ids[0], ()) if len(ids) == 1 else ()
        return Cell(sparkline(history, 8) if history else "", "spark")
    samples = [context.usage[instance_id] for instance_id in ids if instance_id in context.usage]
    if not samples:
        return Cell("")
    if key == "cpu":
        cpu = sum(usage.cpu for usage in samples)
        return Cell(format_percent(cpu), "warn" if cpu >= 80 * len(samples) else "plain")
    return Cell(format_bytes(sum(usage.memory for usage in samples)))
