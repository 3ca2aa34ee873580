"""Lines that keep coming (floor 4): logs and events, followed or scrolled back, in bounded memory.

Lines are kept as they came and are cleaned and drawn when they are looked at. Who scrolls up stays where he is while
more arrive; who stands at the end goes along. It refuses to keep more than `LINE_LIMIT` lines and `CHARACTER_LIMIT`
characters: the oldest leave first.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from minikube.text import printable_line
from tui import format as look
from tui.theme import Paint, fit, paint_of
from tui.widgets.scroll import LineView

LINE_LIMIT = 5_000
CHARACTER_LIMIT = 4_000_000
LINE_LENGTH_LIMIT = 8_192
"""A longer line is cut: a terminal cannot show it, and wrapping it would cost everyone."""

LEVELS = ("all", "warning", "error")


class Entry(NamedTuple):
    """One line: when, from whom (may be empty), a mark before it (may be empty), its text and its tone."""

    time: float
    label: str
    text: str
    tone: str = "plain"
    level: str = "info"
    mark: str = ""


class Lines(LineView):
    """A bounded, followable, filterable run of entries."""

    class Moved(Message):
        """Following was taken up or left, or what is shown was narrowed: the title line should say so."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "match(1)", "Next match", show=False),
        Binding("N", "match(-1)", "Previous match", show=False),
        Binding("f", "only", "Only matches", show=False),
    ]

    def __init__(self, empty: str, *, id: str | None = None, stamps: bool = False) -> None:
        super().__init__(id=id)
        self.empty = empty
        self.stamps = stamps
        self.wrap = False
        self.level = "all"
        self.pattern = ""
        self.only = True
        """Whether lines without the pattern are left out, or all are shown with it marked."""
        self.current: Entry | None = None
        """The match that `n` and `N` stand on."""
        self.following = True
        self.dropped = 0
        self._entries: list[Entry] = []
        self._characters = 0
        self._shown: list[tuple[Entry, str | None]] = []
        """What is drawn: an entry, and in wrap mode the piece of it that stands on this line ("" for none)."""
        self._label_width = 0
        self._width = 0
        self._paint: Paint | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Entry]:
        """What is kept, oldest first."""
        return self._entries

    def clear(self, empty: str = "") -> None:
        """Forget everything and follow again."""
        self.empty = empty or self.empty
        self._entries, self._shown, self._characters, self.dropped, self._label_width = [], [], 0, 0, 0
        self.current = None
        self.following = True
        self._settle(0)

    def extend(self, entries: Iterable[Entry]) -> None:
        """Take in more, newest last."""
        fresh = [entry if len(entry.text) <= LINE_LENGTH_LIMIT else _cut(entry) for entry in entries][-LINE_LIMIT:]
        if not fresh:
            return
        self._entries += fresh
        self._characters += sum(len(entry.text) for entry in fresh)
        widest = max(len(entry.label) for entry in fresh)
        if widest > self._label_width:
            self._label_width = min(24, widest)
            if self.wrap:
                self._rebuild()
                return
        before = len(self._shown)
        for entry in fresh:
            self._show_one(entry)
        left = self._trim()
        self._settle(left, grew=len(self._shown) - before + left)

    def restyle(self) -> None:
        """Draw everything anew in the theme that is on."""
        self._paint = None
        self.refresh()

    def narrow(self, *, pattern: str | None = None, level: str | None = None) -> None:
        """Show only lines that contain the pattern, and are of the level or above."""
        if pattern is not None and pattern.lower() != self.pattern:
            self.pattern, self.current = pattern.lower(), None
        self.level = level or self.level
        self._rebuild()

    def toggle_wrap(self) -> None:
        """Long lines over several, or cut at the edge."""
        self.wrap = not self.wrap
        self._rebuild()

    def toggle_stamps(self) -> None:
        """Times before the lines, or none."""
        self.stamps = not self.stamps
        self._rebuild()

    # ------------------------------------------------------------ what is shown

    def _wanted(self, entry: Entry) -> bool:
        if self.level != "all" and LEVELS.index(self.level) > LEVELS.index(entry.level.replace("info", "all")):
            return False
        return not self.only or self._matches(entry)

    def _matches(self, entry: Entry) -> bool:
        return not self.pattern or self.pattern in entry.text.lower() or self.pattern in entry.label.lower()

    def _show_one(self, entry: Entry) -> None:
        if not self._wanted(entry):
            return
        if not self.wrap:
            self._shown.append((entry, None))
            return
        room = max(10, self._width - self._lead_width())
        pieces = chop_cells(_clean(entry.text), room) or [""]
        self._shown += [(entry, piece) for piece in pieces]

    def _trim(self) -> int:
        """Drop what is over the bounds, a good part at a time; how many drawn lines went."""
        slack = LINE_LIMIT // 10
        if len(self._entries) <= LINE_LIMIT + slack and self._characters <= CHARACTER_LIMIT:
            return 0
        drop = max(0, len(self._entries) - LINE_LIMIT)
        characters = self._characters - sum(len(entry.text) for entry in self._entries[:drop])
        while characters > CHARACTER_LIMIT and drop < len(self._entries) - 1:
            characters -= len(self._entries[drop].text)
            drop += 1
        gone = {id(entry) for entry in self._entries[:drop]}
        self._entries = self._entries[drop:]
        self._characters = characters
        self.dropped += drop
        left = next((n for n, (entry, _) in enumerate(self._shown) if id(entry) not in gone), len(self._shown))
        self._shown = self._shown[left:]
        return left

    def _rebuild(self) -> None:
        self._shown = []
        for entry in self._entries:
            self._show_one(entry)
        self._settle(0)

    def _settle(self, left: int, grew: int = -1) -> None:
        """Tell Textual the new height, and stand where the reader expects to."""
        self.set_length(len(self._shown))
        if self.following:
            self.scroll_to(y=max(0, len(self._shown) - self.size.height), animate=False, force=True)
        elif left:
            self.scroll_to(y=max(0, self.scroll_offset.y - left), animate=False, force=True)
        if left or grew or self.following:
            self.refresh()
        self.post_message(self.Moved())

    # ------------------------------------------------------------ drawing

    def _lead_width(self) -> int:
        label = self._label_width + 1 if self._label_width else 0
        return 1 + (9 if self.stamps else 0) + label

    def render_line(self, y: int) -> Strip:
        if self._paint is None:
            self._paint = paint_of(self.app)
        width, base, paint = self.scrollable_content_region.width, self.base, self._paint
        number = self.scroll_offset.y + y
        if number >= len(self._shown):
            if not self._shown and y == 0:
                words = self.empty if not self._entries else "nothing matches the filter"
                return Strip([Segment(fit(f" {words}", width), base + paint["muted"])])
            return Strip.blank(width, base)
        entry, piece = self._shown[number]
        first = piece is None or self._is_first(number)
        segments = [Segment(" ", base)]
        if self.stamps:
            stamp = look.clock(entry.time) if first and entry.time else ""
            segments.append(Segment(fit(stamp, 8) + " ", base + paint["muted"]))
        if self._label_width:
            label = fit(look.tidy(entry.label) if first else "", self._label_width)
            segments.append(Segment(label + " ", base + paint.label(entry.label)))
        room = max(1, width - self._lead_width())
        text = _clean(entry.text) if piece is None else piece
        if entry is self.current:
            base = base + paint.cursor
        segments += self._marked(fit(text, room), base + paint[entry.tone])
        return self.selectable(Strip(segments).adjust_cell_length(width, base), number)

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """The lines as they stand, without what is only drawn."""
        return selection.extract("\n".join(self._plain(number) for number in range(len(self._shown)))), "\n"

    def _plain(self, number: int) -> str:
        entry, piece = self._shown[number]
        return " " * self._lead_width() + (_clean(entry.text) if piece is None else piece)

    def _marked(self, text: str, style: Style) -> list[Segment]:
        """The text with every occurrence of the pattern inverted."""
        if not self.pattern:
            return [Segment(text, style)]
        low, segments, at = text.lower(), [], 0
        found = low.find(self.pattern) if len(low) == len(text) else -1
        while found >= 0:
            end = found + len(self.pattern)
            segments += [Segment(text[at:found], style), Segment(text[found:end], style + Style(reverse=True))]
            at, found = end, low.find(self.pattern, end)
        return [segment for segment in (*segments, Segment(text[at:], style)) if segment.text]

    def on_resize(self, _: events.Resize) -> None:
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            if self.wrap:
                self._rebuild()
        self._settle(0)

    # ------------------------------------------------------------ moving

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        following = new_value >= len(self._shown) - self.size.height
        if following != self.following and self.size.height:
            self.following = following
            self.post_message(self.Moved())

    def action_match(self, by: int) -> None:
        """To the next or previous line with the pattern: from the one it stands on, else from what is seen; round the end."""
        if not self.pattern:
            return
        found = [n for n, (entry, _) in enumerate(self._shown) if self._is_first(n) and self._matches(entry)]
        if not found:
            return
        at = next((n for n in found if self._shown[n][0] is self.current), None)
        if at is not None:
            at = found[(found.index(at) + by) % len(found)]
        else:
            top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
            at = (
                next((n for n in found if n >= top), found[0])
                if by > 0
                else next((n for n in reversed(found) if n < bottom), found[-1])
            )
        self.current = self._shown[at][0]
        if not self.scroll_offset.y <= at < self.scroll_offset.y + self.size.height:
            self.scroll_to(y=max(0, at - self.size.height // 2), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_only(self) -> None:
        """Only lines with the pattern, or all of them with it marked; the match it stands on stays in sight."""
        self.only = not self.only
        self._rebuild()
        at = next((n for n, (entry, _) in enumerate(self._shown) if entry is self.current), None)
        if at is not None:
            self.scroll_to(y=max(0, at - self.size.height // 2), animate=False, force=True)

    @property
    def place(self) -> str:
        """`3/17`: which of the matches it stands on, of how many; empty without a pattern."""
        if not self.pattern:
            return ""
        found = [entry for n, (entry, _) in enumerate(self._shown) if self._is_first(n) and self._matches(entry)]
        at = next((n for n, entry in enumerate(found, 1) if entry is self.current), None)
        return f"{at}/{len(found)}" if at else str(len(found))

    def _is_first(self, number: int) -> bool:
        """Whether it is the first drawn line of its entry."""
        return number == 0 or self._shown[number - 1][0] is not self._shown[number][0]

    def action_edge(self, last: bool) -> None:
        """Go to the first line, or to the end and follow."""
        super().action_edge(last)
        if last:
            self.following = True
            self.post_message(self.Moved())


def _clean(text: str) -> str:
    return printable_line(text).replace("\t", "    ")


def _cut(entry: Entry) -> Entry:
    return entry._replace(text=f"{entry.text[:LINE_LENGTH_LIMIT]}… ({len(entry.text)} characters)")
