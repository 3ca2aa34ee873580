"""All details of a row, as the details tab shows them (compare `kubectl describe`)."""

from collections.abc import Iterable

from rich.text import Text

from minikube.control.client.snapshot import dependency_texts, dependents
from minikube.model import InstanceView, Snapshot
from minikube.text import printable, printable_line
from tui.render.columns import RenderContext, instance_reason
from tui.render.format import (
    CHECK_BADGES,
    EVENT_LEVEL_BADGES,
    format_age,
    format_bytes,
    format_duration,
    format_percent,
    format_time_of_day,
    process_badge,
    single_line,
    sparkline,
)
from tui.render.rows import Row, has_problem
from tui.render.theme import Styles

LABEL_WIDTH = 14
MAX_OUTPUT_LINES = 200
"""Lines of a check's output that are shown; the control API sends at most 4 KiB."""

MAX_EVENTS = 12


def describe_row(snapshot: Snapshot, row: Row, context: RenderContext, styles: Styles) -> Text:
    """Return the details of a service, or of an instance: its state, configuration, dependencies and latest events."""
    page = _DetailsBuilder(styles)
    service = row.service
    page.title(service.name if row.instance is None else row.instance.name, service.kind)
    is_external = service.kind == "external"
    if row.instance is not None:
        _describe_instance(page, row.instance, context, is_external=is_external)
    elif not row.instances:
        page.field("state", "no copies are running", "muted")
    page.heading("service")
    page.field("command", service.command)
    page.field("replicas", str(service.replicas) if not is_external else "")
    page.field("registered by", {"self": "itself", "none": "not registered"}.get(service.register, service.register))
    dependencies = ", ".join(dependency_texts(service))
    page.field("depends on", dependencies or "nothing")
    page.field("needed by", ", ".join(dependents(snapshot.services, service.name)) or "no service")
    page.field("tags", ", ".join(service.tags))
    if row.instance is None and row.instances:
        page.heading("instances")
        for instance in row.instances:
            _summarize_instance(page, instance, context, is_external=is_external)
    _list_events(page, snapshot, row)
    return page.text


def _describe_instance(
    page: "_DetailsBuilder", instance: InstanceView, context: RenderContext, *, is_external: bool
) -> None:
    """Add all fields of an instance, and its last output."""
    now = context.now
    badge = process_badge(instance, is_external=is_external)
    age = f" for {format_age(instance.since, now)}" if instance.since else ""
    page.field("process", f"{badge}{age}", badge.style)
    if instance.check is not None:
        badge = CHECK_BADGES[instance.check]
        age = f" for {format_age(instance.check_since, now)}" if instance.check_since else ""
        page.field("check", f"{badge}{age}", badge.style)
    if instance.reason:
        page.field("why not ready", instance.reason, "bad" if has_problem(instance) else "info")
    if instance.next_try > now:
        page.field("next try", f"in {format_duration(instance.next_try - now)}", "warn")
    if instance.next_run > now:
        clock = format_time_of_day(instance.next_run)
        page.field("next run", f"in {format_duration(instance.next_run - now)}, at {clock}")
    page.field("address", instance.address)
    page.field("published", instance.published)
    page.field("ports", ", ".join(f"{name} {port}" for name, port in instance.ports.items()))
    page.field("probe", instance.health)
    page.field("id", instance.id, "muted")
    page.field("pid", str(instance.pid) if instance.pid else "")
    if instance.pid and instance.started:
        started = format_time_of_day(instance.started)
        page.field("started", f"{started}, {format_age(instance.started, now)} ago")
    failed = f", {instance.failed_starts} failed starts" if instance.failed_starts else ""
    page.field("restarts", f"{instance.restarts}{failed}", "warn" if instance.restarts or failed else "plain")
    usage = context.usage.get(instance.id)
    if usage is not None and usage.memory:
        bars = sparkline(context.cpu_history.get(instance.id, ()), 16).strip()
        page.field("uses", f"{format_percent(usage.cpu)}% CPU  {bars}  {format_bytes(usage.memory)} resident")
    page.field("last exit", instance.exit, "bad" if has_problem(instance) else "plain")
    if instance.checked:
        page.heading(f"last check, {format_age(instance.checked, now)} ago")
        page.lines(instance.output.splitlines() or ["(no output)"])
    if instance.last_lines:
        page.heading("last output before the end")
        page.lines(instance.last_lines)


def _summarize_instance(
    page: "_DetailsBuilder", instance: InstanceView, context: RenderContext, *, is_external: bool
) -> None:
    """Add one line about an instance of the described service."""
    text, styles = page.text, page.styles
    state = process_badge(instance, is_external=is_external)
    text.append(f"   {single_line(instance.name):<18} ", styles["name"])
    text.append(f"{state!s:<11}", styles[state.style])
    if instance.check is not None:
        check = CHECK_BADGES[instance.check]
        text.append(f" {check!s:<11}", styles[check.style])
    reason = instance_reason(instance, context.now)
    text.append(f" {single_line(instance.local_address):<16} ", styles["muted"])
    text.append(f"{reason.text}", styles[reason.style])
    text.append("\n")


def _list_events(page: "_DetailsBuilder", snapshot: Snapshot, row: Row) -> None:
    """Add the latest events of the service, or of the instance in a row of its own; newest first."""
    text, styles = page.text, page.styles
    name = row.instance.name if row.instance is not None and row.depth else ""
    events = [
        event
        for event in snapshot.events
        if event.service == row.service.name and (not name or event.instance in ("", name))
    ][-MAX_EVENTS:]
    if events:
        page.heading("latest events")
    for event in reversed(events):
        badge = EVENT_LEVEL_BADGES.get(event.level, EVENT_LEVEL_BADGES["info"])
        text.append(f"   {format_time_of_day(event.time)} ", styles["muted"])
        text.append(f"{badge.symbol} ", styles[badge.style])
        text.append(single_line(event.message) + "\n", styles["plain" if event.level == "info" else badge.style])


class _DetailsBuilder:
    """Builds the text of the details tab: a title, headings, fields and lines, each with its indentation and style."""

    def __init__(self, styles: Styles) -> None:
        self.styles = styles
        self.text = Text()

    def title(self, name: str, kind: str) -> None:
        """Add the first line: a name and the kind of the service."""
        self.text.append(f" {single_line(name)}", self.styles["name"])
        self.text.append(f"  {single_line(kind)}\n", self.styles["muted"])

    def heading(self, words: str) -> None:
        """Add an empty line and a heading."""
        self.text.append(f"\n {words}\n", self.styles["head"])

    def field(self, label: str, value: str, style: str = "plain") -> None:
        """Add the line `label  value`; nothing when the value is empty."""
        if value:
            self.text.append(f"   {label:<{LABEL_WIDTH}}", self.styles["muted"])
            self.text.append(f"{printable(value)}\n", self.styles[style])

    def lines(self, lines: Iterable[str]) -> None:
        """Add lines of output, at most `MAX_OUTPUT_LINES`."""
        for number, line in enumerate(lines):
            if number >= MAX_OUTPUT_LINES:
                self.text.append("   …\n", self.styles["muted"])
                return
            self.text.append(f"   {printable_line(line)}\n", self.styles["plain"])
