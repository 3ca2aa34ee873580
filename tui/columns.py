"""The table's columns (floor 4): which fit a width, and what each shows of a row.

Pure. Columns leave from the highest `rank` down as the terminal narrows; what is left over goes to the name
first, then to the output of the last check.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from minikube.model import CheckState, InstanceView, ProcessState, Usage
from tui import format as look
from tui.rows import Row, has_problem, worst

WIDE = 110
"""From this width columns are two cells apart."""


class Column(NamedTuple):
    """A column: its least and greatest width, its rank, and on which side its text stands."""

    key: str
    title: str
    width: int
    rank: int = 0
    right: bool = False
    most: int = 0


class Cell(NamedTuple):
    """What one cell shows."""

    text: str
    tone: str = "plain"


class Scene(NamedTuple):
    """What drawing needs beyond the row: the time it is, usage by id, usage's past by id, targets with an action in flight,
    keys of marked rows."""

    now: float = 0.0
    usage: Mapping[str, Usage] = {}
    history: Mapping[str, Sequence[float]] = {}
    busy: Collection[str] = ()
    marked: Collection[str] = ()


COLUMNS = (
    Column("name", "SERVICE", 14, most=34),
    Column("state", "STATE", 10),
    Column("check", "CHECK", 10, rank=1),
    Column("last", "LAST", 4, rank=6, right=True),
    Column("address", "ADDRESS", 15, rank=2, most=22),
    Column("pid", "PID", 7, rank=8, right=True),
    Column("restarts", "↻", 3, rank=5, right=True),
    Column("up", "UP", 6, rank=4, right=True),
    Column("cpu", "CPU%", 4, rank=3, right=True),
    Column("spark", "", 8, rank=9),
    Column("memory", "MEM", 5, rank=3, right=True),
    Column("output", "LAST OUTPUT", 16, rank=7, most=10_000),
)


def layout(width: int, rows: Sequence[Row]) -> list[tuple[Column, int]]:
    """The columns that fit `width` with the widths they get, in order. Their gap is `gap(width)`."""
    chosen = list(COLUMNS)
    space = gap(width)
    while len(chosen) > 1 and _total(chosen, space) > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare = max(0, width - _total(chosen, space))
    widths = {column.key: column.width for column in chosen}
    for column, need in (
        ("name", max((len(row.target) + 4 + 2 * row.depth for row in rows), default=0)),
        ("address", max((len(row.instance.address) for row in rows if row.instance), default=0)),
        ("output", width),
    ):
        limits = next((c for c in chosen if c.key == column), None)
        if limits is not None:
            grown = min(spare, max(0, min(need, limits.most) - limits.width))
            widths[column] += grown
            spare -= grown
    return [(column, widths[column.key]) for column in chosen]


def gap(width: int) -> int:
    """The cells between two columns."""
    return 2 if width >= WIDE else 1


def _total(columns: Sequence[Column], space: int) -> int:
    return sum(column.width for column in columns) + space * (len(columns) - 1)


def cell(key: str, row: Row, scene: Scene) -> Cell:
    """What the column `key` shows of `row`. Everything that came from elsewhere is tidied."""
    if key == "name":
        return _name(row, scene)
    if row.instance is None:
        return _group_cell(key, row, scene)
    return _instance_cell(key, row.instance, scene)


def _name(row: Row, scene: Scene) -> Cell:
    if row.depth:
        lead = "   └ "
    elif row.instance is None and row.members:
        lead = " ▸ " if row.folded else " ▾ "
    else:
        lead = "   "
    if row.key in scene.marked:
        lead = "◉" + lead[1:]
    tail = " ⟳" if row.target in scene.busy else ""
    return Cell(f"{lead}{look.tidy(row.target)}{tail}", "muted" if row.service.kind == "external" else "name")


def _instance_cell(key: str, instance: InstanceView, scene: Scene) -> Cell:
    alive = instance.pid > 0
    match key:
        case "state":
            mark = look.PROCESS_MARKS[instance.state]
            if instance.state == ProcessState.EXITED and has_problem(instance):
                return Cell(str(mark), "bad")
            return Cell(str(mark), mark.tone)
        case "check":
            if instance.check is None:
                return Cell("–", "muted")
            mark = look.CHECK_MARKS[instance.check]
            return Cell(str(mark), mark.tone)
        case "last":
            return Cell(look.lately(instance.checked, scene.now), "muted")
        case "address":
            return Cell(look.tidy(instance.address), "info" if instance.check == CheckState.PASSING else "muted")
        case "pid":
            return Cell(str(instance.pid) if alive else "", "muted")
        case "restarts":
            count = instance.restarts + instance.failed_starts
            return Cell(str(count), "warn" if count else "muted")
        case "up":
            return Cell(look.since(instance.started, scene.now) if alive else "")
        case "output":
            return why(instance, scene.now)
        case _:
            return _usage_cell(key, (instance.id,) if alive else (), scene)


def why(instance: InstanceView, now: float) -> Cell:
    """The one line that matters most: why it is not ready, else the last check's own words, else the last end."""
    wait = f" · again in {look.duration(instance.next_try - now)}" if instance.next_try > now else ""
    if instance.next_run > now:
        wait += f" · next run in {look.duration(instance.next_run - now)}"
    if has_problem(instance) or instance.check == CheckState.CRITICAL:
        words = instance.reason or instance.output or instance.exit
        return Cell(look.tidy(words) + wait, "warn" if instance.state == ProcessState.BACKOFF else "bad")
    if instance.reason:
        return Cell(look.tidy(instance.reason) + wait, "info")
    return Cell((look.tidy(instance.output or instance.exit) + wait).removeprefix(" · "), "muted")


def why_row(row: Row, scene: Scene) -> Cell:
    """`why` of the row's instance, or of the first of its instances that has a problem."""
    return cell("output", row, scene)


def _group_cell(key: str, row: Row, scene: Scene) -> Cell:
    if not row.members:
        return Cell("■ no copies", "muted") if key == "state" else Cell("")
    match key:
        case "state":
            state = worst(row.members)
            return Cell(str(look.PROCESS_MARKS[state]), look.PROCESS_MARKS[state].tone)
        case "check":
            checked = [member for member in row.members if member.check is not None]
            if not checked:
                return Cell("–", "muted")
            passing = sum(member.check == CheckState.PASSING for member in checked)
            symbol, tone = ("✓", "ok") if passing == len(checked) else ("✗", "bad") if not passing else ("◒", "warn")
            return Cell(f"{symbol} {passing}/{len(checked)}", tone)
        case "restarts":
            count = sum(member.restarts + member.failed_starts for member in row.members)
            return Cell(str(count), "warn" if count else "muted")
        case "cpu" | "memory" | "spark":
            return _usage_cell(key, tuple(member.id for member in row.members if member.pid), scene)
        case "output":
            troubled = next((member for member in row.members if has_problem(member)), None)
            if troubled is None:
                return Cell("")
            text, tone = why(troubled, scene.now)
            return Cell(f"{look.tidy(troubled.name)}: {text}", tone)
        case _:
            return Cell("")


def _usage_cell(key: str, ids: Sequence[str], scene: Scene) -> Cell:
    if key == "spark":
        past = scene.history.get(ids[0], ()) if len(ids) == 1 else ()
        return Cell(look.spark(past, 8) if past else "", "spark")
    found = [scene.usage[one] for one in ids if one in scene.usage]
    if not found:
        return Cell("")
    if key == "cpu":
        cpu = sum(usage.cpu for usage in found)
        return Cell(look.percent(cpu), "warn" if cpu >= 80 * len(found) else "plain")
    return Cell(look.size(sum(usage.memory for usage in found)))
