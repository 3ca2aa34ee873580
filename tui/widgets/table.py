"""The table of services and instances (floor 4): draws only the lines that are seen, and only where they changed.

Textual's DataTable measures every cell of every row, reads markup, and keeps the cursor's index rather than its row;
a thousand rows that change ten times a second need the opposite. Here a row is drawn when it is looked at, what has
been drawn is compared line by line, and the cursor stays on its key while rows come, go and move.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import columns
from tui.columns import Cell, Column, Scene
from tui.rows import Row
from tui.theme import Paint, fit, paint_of


class Line(NamedTuple):
    """What a line of the table says: its cells, and whether the cursor stands on it."""

    cells: tuple[Cell, ...] = ()
    selected: bool = False


class ServiceTable(ScrollView, can_focus=True):
    """The rows of a snapshot under a header line that stays."""

    class Highlighted(Message):
        """The cursor stands on another row, or on none."""

        def __init__(self, row: Row | None) -> None:
            super().__init__()
            self.row = row

    class Opened(Message):
        """Enter, or a second click, on a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False),
        Binding("k,up", "move(-1)", "Up", show=False),
        Binding("g,home", "edge(False)", "First", show=False),
        Binding("G,end", "edge(True)", "Last", show=False),
        Binding("pagedown,ctrl+d,ctrl+f", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+u,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("enter", "open", "Open"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.cursor = 0
        self._index: dict[str, int] = {}
        self._scene = Scene()
        self._columns: list[tuple[Column, int]] = []
        self._columns_for: tuple[int, object] = (0, None)
        self._painted: dict[int, Strip] = {}
        self._written: dict[int, Line] = {}
        """What the painted lines say, so that a line that says the same is not even painted."""
        self._empty = "waiting for the supervisor …"
        self._paint: Paint | None = None

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[Row], scene: Scene, empty: str = "") -> None:
        """Show these rows; the cursor stays on its row, and that row at its height, wherever the row still exists."""
        before, old = self.row, self.cursor
        self._scene, self._empty = scene, empty or self._empty
        if rows != self.rows:
            self.rows = rows
            self._index = {row.key: number for number, row in enumerate(rows)}
            self.virtual_size = Size(0, len(rows) + 1)
        if before is not None:
            self.cursor = self._index.get(before.key, min(old, max(0, len(rows) - 1)))
            if self.cursor != old:
                self.scroll_to(y=max(0, self.scroll_offset.y + self.cursor - old), animate=False, force=True)
        elif self.cursor >= len(rows):
            self.cursor = 0
        self._repaint()
        if self.row != before:
            self.post_message(self.Highlighted(self.row))

    def select(self, key: str) -> bool:
        """Move the cursor to the row of this key; whether there is one."""
        number = self._index.get(key)
        if number is None:
            return False
        self._move_to(number)
        return True

    def restyle(self) -> None:
        """Draw everything anew: the theme, the size or the focus changed."""
        self._paint = None
        self._forget()
        self.refresh()

    # ------------------------------------------------------------ drawing

    def _repaint(self) -> None:
        """Draw again what is seen, and send only the cells that came out otherwise."""
        width = self.scrollable_content_region.width
        if self._measure(width):
            self._forget()
            self.refresh()
            return
        for y in range(self.size.height):
            new, old = self._write(y), self._written.get(y)
            if new != old:
                self._written[y] = new
                self._painted.pop(y, None)
                start, end = self._span(old, new) if old is not None else (0, self.size.width)
                self.refresh(Region(start, y, end - start, 1))

    def render_line(self, y: int) -> Strip:
        strip = self._painted.get(y)
        if strip is None:
            self._measure(self.scrollable_content_region.width)
            line = self._written[y] = self._write(y)
            strip = self._painted[y] = self._build(line)
        return strip

    def _forget(self) -> None:
        self._painted.clear()
        self._written.clear()

    def _write(self, y: int) -> Line:
        """What line `y` of what is seen says."""
        if y == 0:
            return Line(tuple(Cell(column.title, "head") for column, _ in self._columns))
        number = self.scroll_offset.y + y - 1
        if number < len(self.rows):
            row = self.rows[number]
            cells = tuple(columns.cell(column.key, row, self._scene) for column, _ in self._columns)
            return Line(cells, number == self.cursor)
        return Line((Cell(f"   {self._empty}", "muted"),) if not self.rows and y == 2 else ())

    def _span(self, old: Line, new: Line) -> tuple[int, int]:
        """From where to where the two differ, in cells of the terminal."""
        width, number = self.scrollable_content_region.width, len(self._columns)
        if old.selected != new.selected or not len(old.cells) == len(new.cells) == number:
            return 0, self.size.width
        changed = [n for n in range(number) if old.cells[n] != new.cells[n]]
        starts = [0]
        for _, cells_wide in self._columns:
            starts.append(starts[-1] + cells_wide + columns.gap(width))
        return starts[changed[0]], min(starts[changed[-1] + 1], self.size.width)

    def _build(self, line: Line) -> Strip:
        if self._paint is None:
            self._paint = paint_of(self.app)
        width, base = self.scrollable_content_region.width, self.rich_style
        if line.selected:
            base = base + (self._paint.cursor if self.has_focus else self._paint.cursor_unfocused)
        if len(line.cells) == len(self._columns):
            return self._line(line.cells, base, width)
        words, tone = line.cells[0] if line.cells else Cell("")
        return Strip([Segment(fit(words, width), base + self._paint[tone])])

    def _line(self, cells: Sequence[tuple[str, str]], base: Style, width: int) -> Strip:
        assert self._paint is not None
        space = Segment(" " * columns.gap(width), base)
        segments: list[Segment] = []
        for (text, tone), (column, cells_wide) in zip(cells, self._columns, strict=True):
            if segments:
                segments.append(space)
            segments.append(Segment(fit(text, cells_wide, right=column.right), base + self._paint[tone]))
        return Strip(segments).adjust_cell_length(width, base)

    def _measure(self, width: int) -> bool:
        """Whether the columns stand elsewhere than before."""
        if self._columns_for[0] == width and self._columns_for[1] is self.rows:
            return False
        before, self._columns_for = self._columns, (width, self.rows)
        self._columns = columns.layout(width, self.rows)
        return self._columns != before

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        self._forget()
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self, _: events.Resize) -> None:
        self._forget()
        self._scroll_cursor_into_view()

    def on_focus(self) -> None:
        self.restyle()

    def on_blur(self) -> None:
        self.restyle()

    # ------------------------------------------------------------ moving

    def _move_to(self, number: int) -> None:
        number = max(0, min(number, len(self.rows) - 1))
        if number != self.cursor and self.rows:
            self.cursor = number
            self._scroll_cursor_into_view()
            self._repaint()
            self.post_message(self.Highlighted(self.row))

    def _scroll_cursor_into_view(self) -> None:
        top, room = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + room:
            self.scroll_to(y=self.cursor - room + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self._move_to(self.cursor + by)

    def action_edge(self, last: bool) -> None:
        """Move the cursor to the first or the last row."""
        self._move_to(len(self.rows) - 1 if last else 0)

    def action_page(self, by: int) -> None:
        """Move the cursor by a screenful."""
        self._move_to(self.cursor + by * max(1, self.size.height - 2))

    def action_open(self) -> None:
        """Tell that the row is to be opened."""
        if self.row is not None:
            self.post_message(self.Opened(self.row))

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor there; a click on the cursor's row opens it."""
        number = self.scroll_offset.y + event.y - 1
        if event.y < 1 or number >= len(self.rows):
            return
        if number == self.cursor and event.chain > 1:
            self.action_open()
        else:
            self._move_to(number)
