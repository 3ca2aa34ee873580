"""A row in full (floor 4): what it is, how it is, why it is not ready, how it last ended, who needs it.

Pure: a snapshot and a row become a `rich.Text`. Everything that came from elsewhere is made visible, line by line.
"""

from collections.abc import Iterable

from rich.text import Text

from minikube.control.client.snapshot import dependents
from minikube.model import InstanceView, Snapshot
from minikube.text import printable, printable_line
from tui import columns
from tui import format as look
from tui.columns import Scene
from tui.rows import Row, has_problem
from tui.theme import Paint

LABEL_WIDTH = 14
LINES_SHOWN = 200
"""Lines of one check's output; the wire allows 4 KiB."""


def describe(snapshot: Snapshot, row: Row, scene: Scene, paint: Paint) -> Text:
    """The details of a row as the details tab shows them."""
    page = _Page(paint)
    service = row.service
    page.title(service.name if row.instance is None else row.instance.name, service.kind)
    if row.instance is not None:
        _instance(page, row.instance, scene)
    elif not row.members:
        page.fact("state", "no copies are running", "muted")
    page.head("service")
    page.fact("command", service.command)
    page.fact("replicas", str(service.replicas) if service.kind != "external" else "")
    page.fact("registered by", {"self": "itself", "none": "nobody"}.get(service.register, service.register))
    page.fact("depends on", ", ".join(f"{name} ({wanted})" for name, wanted in service.depends_on.items()) or "nothing")
    page.fact("needed by", ", ".join(dependents(snapshot.services, service.name)) or "nobody")
    page.fact("tags", ", ".join(service.tags))
    if row.instance is None and row.members:
        page.head("instances")
        for member in row.members:
            _summary(page, member, scene)
    _events(page, snapshot, row)
    return page.text


def _instance(page: "_Page", one: InstanceView, scene: Scene) -> None:
    mark = look.PROCESS_MARKS[one.state]
    held = f" for {look.since(one.since, scene.now)}" if one.since else ""
    page.fact("process", f"{mark}{held}", mark.tone)
    if one.check is not None:
        check = look.CHECK_MARKS[one.check]
        held = f" for {look.since(one.check_since, scene.now)}" if one.check_since else ""
        page.fact("check", f"{check}{held}", check.tone)
    if one.reason:
        page.fact("why not ready", one.reason, "bad" if has_problem(one) else "info")
    if one.next_try > scene.now:
        page.fact("next try", f"in {look.duration(one.next_try - scene.now)}", "warn")
    if one.next_run > scene.now:
        page.fact("next run", f"in {look.duration(one.next_run - scene.now)}, at {look.clock(one.next_run)}")
    page.fact("address", one.address)
    page.fact("probe", one.health)
    page.fact("id", one.id, "muted")
    page.fact("pid", str(one.pid) if one.pid else "")
    if one.pid and one.started:
        page.fact("started", f"{look.clock(one.started)}, {look.since(one.started, scene.now)} ago")
    failed = f", {one.failed_starts} failed starts" if one.failed_starts else ""
    page.fact("restarts", f"{one.restarts}{failed}", "warn" if one.restarts or failed else "plain")
    usage = scene.usage.get(one.id)
    if usage is not None and usage.memory:
        past = look.spark(scene.history.get(one.id, ()), 16).strip()
        page.fact("uses", f"{look.percent(usage.cpu)}% CPU  {past}  {look.size(usage.memory)} resident")
    page.fact("last exit", one.exit, "bad" if has_problem(one) else "plain")
    if one.checked:
        page.head(f"last check, {look.since(one.checked, scene.now)} ago")
        page.lines(one.output.splitlines() or ["(no output)"])
    if one.last_lines:
        page.head("last output before the end")
        page.lines(one.last_lines)


def _summary(page: "_Page", one: InstanceView, scene: Scene) -> None:
    state = look.PROCESS_MARKS[one.state]
    page.text.append(f"   {look.tidy(one.name):<18} ", page.paint["name"]).append(
        f"{state!s:<11}", page.paint[state.tone]
    )
    if one.check is not None:
        check = look.CHECK_MARKS[one.check]
        page.text.append(f" {check!s:<11}", page.paint[check.tone])
    reason = columns.why(one, scene.now)
    page.text.append(f" {look.tidy(one.address):<16} ", page.paint["muted"]).append(
        reason.text, page.paint[reason.tone]
    )
    page.text.append("\n")


def _events(page: "_Page", snapshot: Snapshot, row: Row) -> None:
    wanted = row.instance.name if row.instance is not None and row.depth else ""
    own = [
        event
        for event in snapshot.events
        if event.service == row.service.name and (not wanted or event.instance in ("", wanted))
    ][-12:]
    if own:
        page.head("latest events")
    for event in reversed(own):
        mark = look.LEVEL_MARKS.get(event.level, look.LEVEL_MARKS["info"])
        page.text.append(f"   {look.clock(event.time)} ", page.paint["muted"])
        page.text.append(f"{mark.symbol} ", page.paint[mark.tone])
        page.text.append(look.tidy(event.message) + "\n", page.paint["plain" if event.level == "info" else mark.tone])


class _Page:
    """Collects the text; knows the margins."""

    def __init__(self, paint: Paint) -> None:
        self.paint = paint
        self.text = Text()

    def title(self, name: str, kind: str) -> None:
        self.text.append(f" {look.tidy(name)}", self.paint["name"]).append(
            f"  {look.tidy(kind)}\n", self.paint["muted"]
        )

    def head(self, words: str) -> None:
        self.text.append(f"\n {words}\n", self.paint["head"])

    def fact(self, label: str, value: str, tone: str = "plain") -> None:
        """One line `label  value`; left out where there is no value."""
        if value:
            self.text.append(f"   {label:<{LABEL_WIDTH}}", self.paint["muted"])
            self.text.append(f"{printable(value)}\n", self.paint[tone])

    def lines(self, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines):
            if number >= LINES_SHOWN:
                self.text.append("   …\n", self.paint["muted"])
                return
            self.text.append(f"   {printable_line(line)}\n", self.paint["plain"])
