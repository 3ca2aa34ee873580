"""The two lines at the top: the project and its phase, the connection, instances by condition, Redis and the registry."""

import time
from pathlib import PurePath

from rich.text import Text

from minikube.model import PartView, ProcessState, Snapshot
from tui.connection.messages import ConnectionState
from tui.render.format import PHASE_BADGES, PROCESS_BADGES, Badge, format_duration, single_line
from tui.render.rows import InstanceCounts, count_instances
from tui.render.theme import Styles, styles_for
from tui.widgets.static_text import StaticText

WIDE_COLUMNS = 130
"""From this terminal width on, the reason for a lost connection is shown."""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

_COUNTS = (
    ("passing", "✓", "passing", "ok"),
    ("running", "●", "running", "ok"),
    ("starting", "◌", "starting", "info"),
    ("critical", "✗", "critical", "bad"),
    ("failed", "✗", "failed", "bad"),
    ("maintenance", "◆", "maintenance", "warn"),
    ("completed", "○", "completed", "muted"),
    ("stopped", "■", "stopped", "muted"),
)
"""Field of `InstanceCounts`, symbol, word and style of each count, in the order in which they are shown."""


class Header(StaticText):
    """The lines at the top: project, connection, instance counts, Redis and the registry.

    The owner sets the attributes and calls `draw` after a change, and every second. No line is wider than the terminal.
    """

    snapshot: Snapshot | None = None
    connection: ConnectionState = "connecting"
    connection_detail: str = ""
    heard: float = 0.0
    """When the supervisor was last known to answer, while the connection is not live (Unix seconds)."""
    note: str = ""
    """A text about the table's filter, order and marked rows; empty: all rows in the default order."""

    def draw(self) -> None:
        """Redraw the header from its attributes."""
        width = self.size.width
        if width:
            styles = styles_for(self.app)
            top = self._align_sides(self._project(styles), self._connection_text(styles), width)
            brief, full = (self._parts(styles, addresses=addresses) for addresses in (False, True))
            counts = self._counts(styles, width - brief.cell_len)
            fits = counts.cell_len + full.cell_len + 2 <= width
            bottom = self._align_sides(counts, full if fits else brief, width)
            self.show(Text("\n").join([top, bottom]))

    def on_resize(self) -> None:
        """Draw for the new width."""
        self.draw()

    def _project(self, styles: Styles) -> Text:
        """Return the project's name, phase and uptime."""
        snapshot = self.snapshot
        text = Text(" ◈ ", styles["info"])
        if snapshot is None:
            return text.append("minikube", styles["name"])
        text.append(single_line(snapshot.project) or "project", styles["name"])
        badge = PHASE_BADGES.get(snapshot.phase, Badge("?", single_line(snapshot.phase), "plain"))
        text.append("  ").append(str(badge), styles[badge.style])
        now = self.heard if self.connection in ("silent", "lost") else time.time()
        return text.append(f"  up {format_duration(now - snapshot.started)}", styles["muted"])

    def _connection_text(self, styles: Styles) -> Text:
        """Return the connection's state."""
        if self.connection == "live":
            return Text("⇄ live ", styles["ok"])
        spinner = SPINNER[int(time.monotonic() * 4) % len(SPINNER)]
        if self.connection == "connecting":
            return Text(f"{spinner} connecting ", styles["info"])
        age = format_duration(time.time() - self.heard)
        if self.connection == "silent":
            wide = self.size.width >= WIDE_COLUMNS
            return Text(
                f"▲ {'the supervisor does not answer, this was ' if wide else 'no answer, as of '}{age} ago ",
                styles["warn"],
            )
        reason = f": {self.connection_detail}" if self.connection_detail and self.size.width >= WIDE_COLUMNS else ""
        return Text(f"{spinner} supervisor unreachable{reason}, reconnecting, as of {age} ago ", styles["bad"])

    def _counts(self, styles: Styles, room: int) -> Text:
        """Return the number of instances by condition in at most `room` terminal cells: words are left out where it is narrow."""
        counts = count_instances(self.snapshot.instances) if self.snapshot else InstanceCounts()
        text = Text()
        for with_word in (("passing", "running", "starting", "maintenance", "completed", "stopped"), ("passing",), ()):
            text = Text("   ")
            text.append(f"{counts.total} instance{'' if counts.total == 1 else 's'}", styles["muted"])
            for name, symbol, word, style in _COUNTS:
                number = getattr(counts, name)
                if number or name == "passing":
                    worded = style == "bad" or name in with_word
                    shown = f"{symbol} {number} {word}" if worded else f"{symbol} {number}"
                    text.append("  ").append(shown, styles[style if number else "muted"])
            if self.note:
                text.append(f"  ⧩ {single_line(self.note)}", styles["accent"])
            if text.cell_len <= room:
                break
        return text

    def _parts(self, styles: Styles, *, addresses: bool) -> Text:
        """Return the states of Redis and the registry with their errors; `addresses` adds the addresses on which they listen."""
        text = Text()
        directory = f"unix://{PurePath(self.snapshot.manifest).parent}/" if self.snapshot else ""
        for part in self.snapshot.parts if self.snapshot else ():
            style, symbol, words = _part_text(part)
            words = words.removeprefix(directory)  # a socket inside the project is shown relative to the project
            text.append(single_line(part.name) + " ", styles["muted"])
            text.append(symbol, styles[style])
            if words and (style != "ok" or addresses):
                text.append(f" {words}", styles["plain" if style == "ok" else style])
            text.append("  ")
        text.rstrip()
        return text.append(" ")

    @staticmethod
    def _align_sides(left: Text, right: Text, width: int) -> Text:
        """Return a line with `left` at its start and `right` at its end; `left` is cut where both do not fit."""
        room = max(0, width - right.cell_len)
        left.truncate(room, overflow="ellipsis", pad=True)
        line = left + right
        line.truncate(width, overflow="ellipsis", pad=True)
        return line


def _part_text(part: PartView) -> tuple[str, str, str]:
    """Return the style, the symbol and the words for Redis or the registry."""
    badge = PROCESS_BADGES[part.state]
    if part.state == ProcessState.RUNNING:
        if not part.is_well:
            return "bad", "✗", single_line(part.detail) or "does not work"
        if part.detail:
            return "warn", "▲", single_line(part.detail)
        return "ok", badge.symbol, single_line(part.address)
    return badge.style, badge.symbol, badge.word
