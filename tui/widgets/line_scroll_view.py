"""The base of the widgets that scroll and draw their own lines."""

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class LineScrollView(ScrollView, can_focus=True):
    """A `ScrollView` with scrolling keys. Its number of lines can change without a new layout of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll(1)", "Down", show=False),
        Binding("k,up", "scroll(-1)", "Up", show=False),
        Binding("g,home", "edge(False)", "First", show=False),
        Binding("G,end", "edge(True)", "Last", show=False),
        Binding("pagedown,ctrl+d,ctrl+f", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+u,ctrl+b", "page(-1)", "Page up", show=False),
    ]

    base_style = Style()
    """The widget's own style, on which lines are drawn."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the drawn lines of a region."""
        # `rich_style` is computed from all ancestors: once for all lines, not for each.
        self.base_style = self.rich_style
        return super().render_lines(crop)

    def selectable(self, strip: Strip, number: int) -> Strip:
        """Return the line with this number so that the mouse can select in it, with the selected part reversed."""
        selection = self.text_selection
        span = selection.get_span(number) if selection is not None else None
        if span is not None:
            start, end = span[0], strip.cell_length if span[1] < 0 else min(span[1], strip.cell_length)
            before, within, after = strip.crop(0, start), strip.crop(start, end), strip.crop(end, strip.cell_length)
            strip = Strip.join([before, within.apply_style(Style(reverse=True)), after])
        return strip.apply_offsets(0, number)

    def set_line_count(self, count: int) -> None:
        """Set how many lines can be scrolled through."""
        size = Size(0, count)
        if size != self.virtual_size:
            # Assigning `virtual_size` would lay out and redraw the whole screen for every new line. Only the scrollbar
            # depends on it here. `_scroll_update` is a private name of Textual's: see the pin in pyproject.toml.
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)

    def action_scroll(self, by: int) -> None:
        """Scroll by `by` lines."""
        self.scroll_to(y=self.scroll_offset.y + by, animate=False, force=True)

    def action_page(self, by: int) -> None:
        """Scroll by `by` screenfuls."""
        self.scroll_to(y=self.scroll_offset.y + by * max(1, self.size.height - 1), animate=False, force=True)

    def action_edge(self, last: bool) -> None:
        """Scroll to the first line, or with `last` to the last one."""
        self.scroll_to(y=max(0, self.virtual_size.height - self.size.height) if last else 0, animate=False, force=True)
