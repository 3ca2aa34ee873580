"""The table of services and instances."""

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

from tui.render.columns import Cell, Column, RenderContext, column_gap, fit_columns, render_cell
from tui.render.rows import Row
from tui.render.theme import Styles, fit_to_width, styles_for

# Textual's DataTable is not used: it measures every cell of every row, parses text as markup, and keeps the cursor at an
# index instead of on a row. With a thousand rows that change ten times a second the opposite is needed: a row is rendered
# when it is visible, compared with what the line showed before, and the cursor stays on its row while rows are added,
# removed and reordered.


class Line(NamedTuple):
    """The content of one visible line of the table."""

    cells: tuple[Cell, ...] = ()
    selected: bool = False
    """Whether the cursor is on this line."""


class ServiceTable(ScrollView, can_focus=True):
    """The table of services and instances, with column titles that do not scroll."""

    class Highlighted(Message):
        """The cursor moved to another row, or there is no row any more."""

        def __init__(self, row: Row | None) -> None:
            super().__init__()
            self.row = row

    class Opened(Message):
        """The user pressed Enter on a row, or double-clicked it."""

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
        """The index of the selected row."""
        self._lost = ""
        """The key of the selected row while it does not exist: no other row is selected in its place."""
        self._index: dict[str, int] = {}
        """The index of each row by its key."""
        self._render_context = RenderContext()
        self._columns: list[tuple[Column, int]] = []
        self._columns_for: tuple[int, object] = (0, None)
        """The width and the rows that `_columns` was computed for."""
        self._strips: dict[int, Strip] = {}
        """The drawn lines, by their line on the screen."""
        self._lines: dict[int, Line] = {}
        """The content of the drawn lines: a line with the same content is not drawn again."""
        self._empty_text = "waiting for the supervisor …"
        self._styles: Styles | None = None

    @property
    def row(self) -> Row | None:
        """The selected row; None where there is none, or where it does not exist any more."""
        return self.rows[self.cursor] if not self._lost and 0 <= self.cursor < len(self.rows) else None

    def show(
        self, rows: Sequence[Row], context: RenderContext, empty_text: str = "", *, reselect: bool = False
    ) -> None:
        """Replace the shown rows. `empty_text` is shown if there are no rows.

        The cursor stays on its row, and the row on its line of the screen, as long as the row exists. When it does not exist
        any more, no row is selected until the user moves the cursor, so that a command hits no other row. `reselect`: the
        user has chosen other rows, and the nearest one is selected.
        """
        before, old = self.row, self.cursor
        self._render_context, self._empty_text = context, empty_text or self._empty_text
        if rows != self.rows:
            self.rows = rows
            self._index = {row.key: number for number, row in enumerate(rows)}
            self.virtual_size = Size(0, len(rows) + 1)
        selected = before.key if before is not None else self._lost
        if selected:
            self._lost = "" if reselect or selected in self._index else selected
            self.cursor = self._index.get(selected, min(old, max(0, len(rows) - 1)))
            if self.cursor != old:
                self.scroll_to(y=max(0, self.scroll_offset.y + self.cursor - old), animate=False, force=True)
        elif self.cursor >= len(rows):
            self.cursor = 0
        self._redraw_changes()
        if self.row != before:
            self.post_message(self.Highlighted(self.row))

    def select(self, key: str) -> bool:
        """Move the cursor to the row with this key; return whether there is one."""
        number = self._index.get(key)
        if number is None:
            return False
        self._move_to(number)
        return True

    def restyle(self) -> None:
        """Draw every line again, because the theme, the size or the focus changed."""
        self._styles = None
        self._discard_drawn()
        self.refresh()

    # ------------------------------------------------------------ drawing

    def _redraw_changes(self) -> None:
        """Compute the visible lines, and draw the cells that differ from what is shown."""
        width = self.scrollable_content_region.width
        if self._update_columns(width):
            self._discard_drawn()
            self.refresh()
            return
        for y in range(self.size.height):
            new, old = self._line(y), self._lines.get(y)
            if new != old:
                self._lines[y] = new
                self._strips.pop(y, None)
                start, end = self._changed_columns(old, new) if old is not None else (0, self.size.width)
                self.refresh(Region(start, y, end - start, 1))

    def render_line(self, y: int) -> Strip:
        """Return line `y` of the widget."""
        strip = self._strips.get(y)
        if strip is None:
            self._update_columns(self.scrollable_content_region.width)
            line = self._lines[y] = self._line(y)
            strip = self._strips[y] = self._draw(line)
        return strip

    def _discard_drawn(self) -> None:
        """Drop the cached lines, so that every line is computed and drawn again."""
        self._strips.clear()
        self._lines.clear()

    def _line(self, y: int) -> Line:
        """Return the content of the visible line `y`."""
        if y == 0:
            return Line(tuple(Cell(column.title, "head") for column, _ in self._columns))
        number = self.scroll_offset.y + y - 1
        if number < len(self.rows):
            row = self.rows[number]
            cells = tuple(render_cell(column.key, row, self._render_context) for column, _ in self._columns)
            return Line(cells, number == self.cursor and not self._lost)
        return Line((Cell(f"   {self._empty_text}", "muted"),) if not self.rows and y == 2 else ())

    def _changed_columns(self, old: Line, new: Line) -> tuple[int, int]:
        """Return the first terminal column in which two lines differ, and the one after the last."""
        width, count = self.scrollable_content_region.width, len(self._columns)
        if old.selected != new.selected or not len(old.cells) == len(new.cells) == count:
            return 0, self.size.width
        changed = [n for n in range(count) if old.cells[n] != new.cells[n]]
        starts = [0]
        for _, column_width in self._columns:
            starts.append(starts[-1] + column_width + column_gap(width))
        return starts[changed[0]], min(starts[changed[-1] + 1], self.size.width)

    def _draw(self, line: Line) -> Strip:
        """Return the strip to draw for a line."""
        if self._styles is None:
            self._styles = styles_for(self.app)
        width, base = self.scrollable_content_region.width, self.rich_style
        if line.selected:
            base = base + (self._styles.cursor if self.has_focus else self._styles.cursor_unfocused)
        if len(line.cells) == len(self._columns):
            return self._draw_cells(line.cells, self._styles, base, width)
        text, style = line.cells[0] if line.cells else Cell("")
        return Strip([Segment(fit_to_width(text, width), base + self._styles[style])])

    def _draw_cells(self, cells: Sequence[Cell], styles: Styles, base: Style, width: int) -> Strip:
        """Return the strip of a row of cells, each fitted to its column."""
        gap = Segment(" " * column_gap(width), base)
        segments: list[Segment] = []
        for (text, style), (column, column_width) in zip(cells, self._columns, strict=True):
            if segments:
                segments.append(gap)
            segments.append(Segment(fit_to_width(text, column_width, right=column.align_right), base + styles[style]))
        return Strip(segments).adjust_cell_length(width, base)

    def _update_columns(self, width: int) -> bool:
        """Choose the columns for this width. Return whether the columns changed."""
        if self._columns_for[0] == width and self._columns_for[1] is self.rows:
            return False
        before, self._columns_for = self._columns, (width, self.rows)
        self._columns = fit_columns(width, self.rows)
        return self._columns != before

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw again after scrolling: every line of the screen shows another row."""
        self._discard_drawn()
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self, _: events.Resize) -> None:
        """Draw for the new size, with the cursor visible."""
        self._discard_drawn()
        self._scroll_cursor_into_view()

    def on_focus(self) -> None:
        """Draw the cursor as focused."""
        self.restyle()

    def on_blur(self) -> None:
        """Draw the cursor as unfocused."""
        self.restyle()

    # ------------------------------------------------------------ moving

    def _move_to(self, number: int) -> None:
        """Move the cursor to the row with this index, or to the nearest one."""
        number = max(0, min(number, len(self.rows) - 1))
        if (number != self.cursor or self._lost) and self.rows:
            self.cursor = number
            self._lost = ""
            self._scroll_cursor_into_view()
            self._redraw_changes()
            self.post_message(self.Highlighted(self.row))

    def _scroll_cursor_into_view(self) -> None:
        """Scroll as little as possible so that the cursor's row is visible."""
        top, height = self.scroll_offset.y, max(1, self.size.height - 1)  # without the titles
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        """Move the cursor by `by` rows; without a selected row, to the row in its place."""
        self._move_to(self.cursor + (0 if self._lost else by))

    def action_edge(self, last: bool) -> None:
        """Move the cursor to the first row, or with `last` to the last one."""
        self._move_to(len(self.rows) - 1 if last else 0)

    def action_page(self, by: int) -> None:
        """Move the cursor by `by` screenfuls."""
        self._move_to(self.cursor + by * max(1, self.size.height - 2))

    def action_open(self) -> None:
        """Post `Opened` for the selected row."""
        if self.row is not None:
            self.post_message(self.Opened(self.row))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the clicked row; a double click on the selected row opens it."""
        number = self.scroll_offset.y + event.y - 1
        if event.y < 1 or number >= len(self.rows):
            return
        if number == self.cursor and event.chain > 1 and not self._lost:
            self.action_open()
        else:
            self._move_to(number)
