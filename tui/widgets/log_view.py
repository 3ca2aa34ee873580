"""Log lines and events that keep coming: followed or scrolled back, filtered, searched, in bounded memory.

Entries are kept as they were received. They are made printable and drawn when they become visible.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from minikube.text import printable_line
from tui.render.format import format_time_of_day, single_line
from tui.render.log_entry import LogEntry
from tui.render.theme import Styles, fit_to_width, styles_for
from tui.widgets.line_scroll_view import LineScrollView

MAX_ENTRIES = 5_000
"""Entries that are kept; the oldest are dropped first."""

MAX_CHARACTERS = 4_000_000
"""Characters of all kept entries together."""

MAX_LINE_CHARACTERS = 8_192
"""A longer line is cut: it fills the screen, and wrapping it would block the dashboard."""

MAX_LABEL_WIDTH = 24

LEVELS = ("all", "warning", "error")
"""The choices for the lowest level that is shown."""


class LogView(LineScrollView):
    """A view of log entries, newest last. While it is scrolled to the end it follows new entries; else it stays in place."""

    class StatusChanged(Message):
        """The follow state, the filter or the selected match changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "next_match(1)", "Next match", show=False),
        Binding("N", "next_match(-1)", "Previous match", show=False),
        Binding("f", "only_matches", "Only matches", show=False),
    ]

    def __init__(self, empty_text: str, *, id: str | None = None, timestamps: bool = False) -> None:
        super().__init__(id=id)
        self.empty_text = empty_text
        self.timestamps = timestamps
        self.wrap = False
        self.level = "all"
        """The lowest level that is shown, one of `LEVELS`."""
        self.pattern = ""
        """The text to search for, in lower case; empty: no search."""
        self.only_matches = True
        """Whether entries without the pattern are hidden; otherwise all are shown with the pattern reversed."""
        self.current: LogEntry | None = None
        """The match that `n` and `N` selected."""
        self.following = True
        """Whether the view scrolls to new entries."""
        self._entries: list[LogEntry] = []
        self._partial: dict[str, LogEntry] = {}
        """By source: the entry that waits for the rest of its line."""
        self._characters = 0
        self._lines: list[tuple[LogEntry, str | None]] = []
        """The lines after filtering and wrapping: an entry, and the part of its text when it is wrapped, else None."""
        self._label_width = 0
        self._width = 0
        self._styles: Styles | None = None

    def __len__(self) -> int:
        """Return the number of entries that are kept."""
        return len(self._entries)

    @property
    def entries(self) -> Sequence[LogEntry]:
        """The entries that are kept, oldest first."""
        return self._entries

    def clear(self, empty_text: str = "") -> None:
        """Drop all entries, and follow new ones. `empty_text` is shown until there is an entry."""
        self.empty_text = empty_text or self.empty_text
        self._entries, self._lines, self._characters, self._label_width = [], [], 0, 0
        self._partial.clear()
        self.current = None
        self.following = True
        self._update_scroll(0)

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Add entries, newest last. An entry takes the place of the incomplete one of its source."""
        added = [entry if len(entry.text) <= MAX_LINE_CHARACTERS else _cut(entry) for entry in entries][-MAX_ENTRIES:]
        if not added:
            return
        if completed := self._complete(added):
            added = [entry for entry in added if id(entry) not in completed]
            self._entries = [entry for entry in self._entries if id(entry) not in completed]
            self._lines = [line for line in self._lines if id(line[0]) not in completed]
            self._characters = sum(len(entry.text) for entry in self._entries)
        self._entries += added
        self._characters += sum(len(entry.text) for entry in added)
        widest = max(len(entry.label) for entry in added)
        if widest > self._label_width:
            self._label_width = min(MAX_LABEL_WIDTH, widest)
            if self.wrap:
                self._rebuild()
                return
        before = len(self._lines)
        for entry in added:
            self._add_lines(entry)
        removed = self._drop_oldest()
        self._update_scroll(removed, added=len(self._lines) - before + removed)

    def _complete(self, added: Sequence[LogEntry]) -> set[int]:
        """Note the incomplete entries in `added`; return the identities of those whose place a later entry takes."""
        completed = set()
        for entry in added:
            before = self._partial.pop(entry.source, None)
            if before is not None:
                completed.add(id(before))
                self.current = entry if self.current is before else self.current
            if entry.partial:
                self._partial[entry.source] = entry
        return completed

    def restyle(self) -> None:
        """Draw every line again, because the theme changed."""
        self._styles = None
        self.refresh()

    def filter(self, *, pattern: str | None = None, level: str | None = None) -> None:
        """Set the pattern to search for and the lowest level to show; None leaves either unchanged."""
        if pattern is not None and pattern.lower() != self.pattern:
            self.pattern, self.current = pattern.lower(), None
        self.level = level or self.level
        self._rebuild()

    def toggle_wrap(self) -> None:
        """Switch between wrapping long lines and cutting them."""
        self.wrap = not self.wrap
        self._rebuild()

    def toggle_timestamps(self) -> None:
        """Show or hide the time before each entry."""
        self.timestamps = not self.timestamps
        self._rebuild()

    # ------------------------------------------------------------ filtering and wrapping

    def _is_shown(self, entry: LogEntry) -> bool:
        """Return whether an entry passes the level and the search."""
        # `info` is the lowest level of an entry, as `all` is of `LEVELS`.
        if self.level != "all" and LEVELS.index(self.level) > LEVELS.index(entry.level.replace("info", "all")):
            return False
        return not self.only_matches or self._matches(entry)

    def _matches(self, entry: LogEntry) -> bool:
        """Return whether an entry contains the pattern."""
        return not self.pattern or self.pattern in entry.text.lower() or self.pattern in entry.label.lower()

    def _add_lines(self, entry: LogEntry) -> None:
        """Add the lines of an entry at the end, unless the filter hides it."""
        if not self._is_shown(entry):
            return
        if not self.wrap:
            self._lines.append((entry, None))
            return
        width = max(10, self._width - self._prefix_width())
        parts = chop_cells(_printable(entry.text), width) or [""]
        self._lines += [(entry, part) for part in parts]

    def _drop_oldest(self) -> int:
        """Drop the oldest entries beyond the limits; return how many lines that removed."""
        # A tenth over the limit is tolerated, so that not every single new entry moves all the others.
        slack = MAX_ENTRIES // 10
        if len(self._entries) <= MAX_ENTRIES + slack and self._characters <= MAX_CHARACTERS:
            return 0
        drop = max(0, len(self._entries) - MAX_ENTRIES)
        characters = self._characters - sum(len(entry.text) for entry in self._entries[:drop])
        while characters > MAX_CHARACTERS and drop < len(self._entries) - 1:
            characters -= len(self._entries[drop].text)
            drop += 1
        dropped = {id(entry) for entry in self._entries[:drop]}
        self._entries = self._entries[drop:]
        self._characters = characters
        kept = (number for number, (entry, _) in enumerate(self._lines) if id(entry) not in dropped)
        removed = next(kept, len(self._lines))
        self._lines = self._lines[removed:]
        return removed

    def _rebuild(self) -> None:
        """Filter and wrap all entries again."""
        self._lines = []
        for entry in self._entries:
            self._add_lines(entry)
        self._update_scroll(0)

    def _update_scroll(self, removed: int, added: int = -1) -> None:
        """Adjust height and scroll position after `removed` lines left at the top and `added` ones came at the end.

        `added` is -1 after all lines were replaced. A view that follows is scrolled to the end; any other keeps its lines at
        their place on the screen.
        """
        self.set_line_count(len(self._lines))
        if self.following:
            self.scroll_to(y=max(0, len(self._lines) - self.size.height), animate=False, force=True)
        elif removed:
            self.scroll_to(y=max(0, self.scroll_offset.y - removed), animate=False, force=True)
        if removed or added or self.following:
            self.refresh()
        self.post_message(self.StatusChanged())

    # ------------------------------------------------------------ drawing

    def _prefix_width(self) -> int:
        """Return the number of terminal cells before an entry's text: a space, the time, the label."""
        label = self._label_width + 1 if self._label_width else 0
        return 1 + (9 if self.timestamps else 0) + label

    def render_line(self, y: int) -> Strip:
        """Return line `y` of the widget."""
        if self._styles is None:
            self._styles = styles_for(self.app)
        width, base, styles = self.scrollable_content_region.width, self.base_style, self._styles
        number = self.scroll_offset.y + y
        if number >= len(self._lines):
            if not self._lines and y == 0:
                text = self.empty_text if not self._entries else "nothing matches the filter"
                return Strip([Segment(fit_to_width(f" {text}", width), base + styles["muted"])])
            return Strip.blank(width, base)
        entry, part = self._lines[number]
        first = part is None or self._is_first(number)
        segments = [Segment(" ", base)]
        if self.timestamps:
            timestamp = format_time_of_day(entry.time) if first and entry.time else ""
            segments.append(Segment(fit_to_width(timestamp, 8) + " ", base + styles["muted"]))
        if self._label_width:
            label = fit_to_width(single_line(entry.label) if first else "", self._label_width)
            segments.append(Segment(label + " ", base + styles.label(entry.label)))
        room = max(1, width - self._prefix_width())
        text = _printable(entry.text) if part is None else part
        if entry is self.current:
            base = base + styles.cursor
        segments += self._highlight(fit_to_width(text, room), base + styles[entry.style])
        return self.selectable(Strip(segments).adjust_cell_length(width, base), number)

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """Return the text that was selected with the mouse, without times and labels, and a line end."""
        return selection.extract("\n".join(self._selectable_text(number) for number in range(len(self._lines)))), "\n"

    def _selectable_text(self, number: int) -> str:
        """Return the text of a line for copying."""
        entry, part = self._lines[number]
        # Spaces take the place of the time and the label, so that columns on the screen are offsets into the text.
        return " " * self._prefix_width() + (_printable(entry.text) if part is None else part)

    def _highlight(self, text: str, style: Style) -> list[Segment]:
        """Return the text as segments, with every occurrence of the pattern reversed."""
        if not self.pattern:
            return [Segment(text, style)]
        lower, segments, at = text.lower(), [], 0
        # Some characters become two in lower case: offsets into `lower` would not fit `text`.
        found = lower.find(self.pattern) if len(lower) == len(text) else -1
        while found >= 0:
            end = found + len(self.pattern)
            segments += [Segment(text[at:found], style), Segment(text[found:end], style + Style(reverse=True))]
            at, found = end, lower.find(self.pattern, end)
        return [segment for segment in (*segments, Segment(text[at:], style)) if segment.text]

    def on_resize(self, _: events.Resize) -> None:
        """Wrap for the new width."""
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            if self.wrap:
                self._rebuild()
        self._update_scroll(0)

    # ------------------------------------------------------------ scrolling and searching

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow after scrolling to the end, stop following after scrolling up."""
        super().watch_scroll_y(old_value, new_value)
        following = new_value >= len(self._lines) - self.size.height
        if following != self.following and self.size.height:
            self.following = following
            self.post_message(self.StatusChanged())

    def action_next_match(self, by: int) -> None:
        """Select the next match (`by` 1) or the previous one (-1), and scroll to it. After the last comes the first.

        Without a selected match, start from the visible lines.
        """
        if not self.pattern:
            return
        matches = self._match_lines()
        if not matches:
            return
        line = self._line_of_current()
        if line in matches:
            line = matches[(matches.index(line) + by) % len(matches)]
        elif by > 0:
            line = next((n for n in matches if n >= self.scroll_offset.y), matches[0])
        else:
            bottom = self.scroll_offset.y + self.size.height
            line = next((n for n in reversed(matches) if n < bottom), matches[-1])
        self.current = self._lines[line][0]
        if not self.scroll_offset.y <= line < self.scroll_offset.y + self.size.height:
            self._scroll_to_middle(line)
        self.refresh()
        self.post_message(self.StatusChanged())

    def action_only_matches(self) -> None:
        """Switch between showing only matches and showing all entries; keep the selected match visible."""
        self.only_matches = not self.only_matches
        self._rebuild()
        line = self._line_of_current()
        if line is not None:
            self._scroll_to_middle(line)

    @property
    def match_position(self) -> str:
        """The number of the selected match and of all matches, as `3/17`; without a selected one `17`; empty without a
        pattern."""
        if not self.pattern:
            return ""
        matches = self._match_lines()
        line = self._line_of_current()
        return f"{matches.index(line) + 1}/{len(matches)}" if line in matches else str(len(matches))

    def _match_lines(self) -> list[int]:
        """Return the line numbers at which entries that contain the pattern begin."""
        return [n for n, (entry, _) in enumerate(self._lines) if self._is_first(n) and self._matches(entry)]

    def _line_of_current(self) -> int | None:
        """Return the number of the line at which the selected match begins; None without a selected match."""
        if self.current is None:
            return None
        return next((n for n, (entry, _) in enumerate(self._lines) if entry is self.current), None)

    def _scroll_to_middle(self, line: int) -> None:
        """Scroll so that a line is in the middle of the view."""
        self.scroll_to(y=max(0, line - self.size.height // 2), animate=False, force=True)

    def _is_first(self, line: int) -> bool:
        """Return whether this is the first line of its entry."""
        return line == 0 or self._lines[line - 1][0] is not self._lines[line][0]

    def action_edge(self, last: bool) -> None:
        """Scroll to the first entry, or with `last` to the end and follow new entries."""
        super().action_edge(last)
        if last:
            self.following = True
            self.post_message(self.StatusChanged())


def _printable(text: str) -> str:
    """Return `text` with control characters made visible and tabs as four spaces."""
    return printable_line(text).replace("\t", "    ")


def _cut(entry: LogEntry) -> LogEntry:
    """Return the entry with its first `MAX_LINE_CHARACTERS` and a note about the length of the original."""
    return entry._replace(text=f"{entry.text[:MAX_LINE_CHARACTERS]}… ({len(entry.text)} characters)")
