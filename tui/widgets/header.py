"""The two lines at the top (floor 4): project, phase, counts by state, Redis, registry, and how the stream is doing."""

import time
from pathlib import PurePath

from rich.text import Text

from minikube.model import PartView, ProcessState, Snapshot
from tui import format as look
from tui.rows import Counts, count
from tui.theme import Paint, paint_of
from tui.widgets.static_text import Still

WIDE = 130
"""From this width the reason stands beside what it is the reason for."""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

_COUNTS = (
    ("passing", "✓", "passing", "ok"),
    ("running", "●", "running", "ok"),
    ("starting", "◌", "starting", "info"),
    ("critical", "✗", "critical", "bad"),
    ("failed", "✗", "failed", "bad"),
    ("maintenance", "◆", "maintenance", "warn"),
    ("stopped", "■", "stopped", "muted"),
)


class Header(Still):
    """Redrawn at every change and every second; nothing in it is ever wider than the terminal."""

    snapshot: Snapshot | None = None
    link: str = "connecting"
    detail: str = ""
    note: str = ""
    """What narrows the table: a filter, problems only."""

    def draw(self) -> None:
        """Show what the attributes say now."""
        width = self.size.width
        if width:
            paint = paint_of(self.app)
            top = self._sides(self._project(paint), self._connection(paint), width)
            brief, whole = (self._parts(paint, addresses=addresses) for addresses in (False, True))
            counts = self._counts(paint, width - brief.cell_len)
            fits = counts.cell_len + whole.cell_len + 2 <= width
            below = self._sides(counts, whole if fits else brief, width)
            self.show(Text("\n").join([top, below]))

    def on_resize(self) -> None:
        """Fit the new width."""
        self.draw()

    def _project(self, paint: Paint) -> Text:
        snapshot = self.snapshot
        text = Text(" ◈ ", paint["info"])
        if snapshot is None:
            return text.append("minikube", paint["name"])
        text.append(look.tidy(snapshot.project) or "project", paint["name"])
        mark = look.PHASE_MARKS.get(snapshot.phase, look.Mark("?", look.tidy(snapshot.phase), "plain"))
        text.append("  ").append(str(mark), paint[mark.tone])
        now = time.time() if self.link == "live" else snapshot.time
        return text.append(f"  up {look.duration(now - snapshot.started)}", paint["muted"])

    def _connection(self, paint: Paint) -> Text:
        if self.link == "live":
            return Text("⇄ live ", paint["ok"])
        spin = SPINNER[int(time.monotonic() * 4) % len(SPINNER)]
        if self.link == "connecting":
            return Text(f"{spin} connecting ", paint["info"])
        why = f": {self.detail}" if self.detail and self.size.width >= WIDE else ""
        return Text(f"{spin} supervisor unreachable{why}, reconnecting ", paint["bad"])

    def _counts(self, paint: Paint, room: int) -> Text:
        """Every count with its word where there is room, else only those that somebody should look at."""
        counts = count(self.snapshot.instances) if self.snapshot else Counts()
        text = Text()
        for worded in (("passing", "running", "starting", "maintenance", "stopped"), ("passing",), ()):
            text = Text("   ")
            text.append(f"{counts.total} instance{'' if counts.total == 1 else 's'}", paint["muted"])
            for name, symbol, word, tone in _COUNTS:
                number = getattr(counts, name)
                if number or name == "passing":
                    shown = f"{symbol} {number} {word}" if tone == "bad" or name in worded else f"{symbol} {number}"
                    text.append("  ").append(shown, paint[tone if number else "muted"])
            if self.note:
                text.append(f"  ⧩ {look.tidy(self.note)}", paint["accent"])
            if text.cell_len <= room:
                break
        return text

    def _parts(self, paint: Paint, *, addresses: bool) -> Text:
        """Redis and the registry: what is wrong with them always, where they are only where there is room."""
        text = Text()
        home = f"unix://{PurePath(self.snapshot.manifest).parent}/" if self.snapshot else ""
        for part in self.snapshot.parts if self.snapshot else ():
            tone, symbol, words = _part(part)
            words = words.removeprefix(home)  # a socket of the project's own is told from its directory on
            text.append(look.tidy(part.name) + " ", paint["muted"])
            text.append(symbol, paint[tone])
            if words and (tone != "ok" or addresses):
                text.append(f" {words}", paint["plain" if tone == "ok" else tone])
            text.append("  ")
        text.rstrip()
        return text.append(" ")

    @staticmethod
    def _sides(left: Text, right: Text, width: int) -> Text:
        room = max(0, width - right.cell_len)
        left.truncate(room, overflow="ellipsis", pad=True)
        line = left + right
        line.truncate(width, overflow="ellipsis", pad=True)
        return line


def _part(part: PartView) -> tuple[str, str, str]:
    """Tone, symbol and words of a part of the supervisor's own."""
    mark = look.PROCESS_MARKS[part.state]
    if part.state == ProcessState.RUNNING:
        return ("warn", "▲", look.tidy(part.detail)) if part.detail else ("ok", mark.symbol, look.tidy(part.address))
    return mark.tone, mark.symbol, mark.word
