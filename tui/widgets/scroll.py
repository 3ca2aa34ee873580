"""What scrolls and draws its own lines (floor 4): a `ScrollView` that grows without the screen being laid out for it."""

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class LineView(ScrollView, can_focus=True):
    """Its place on the screen does not hang on how many lines it has. `base` is the style of what it draws on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll(1)", "Down", show=False),
        Binding("k,up", "scroll(-1)", "Up", show=False),
        Binding("g,home", "edge(False)", "First", show=False),
        Binding("G,end", "edge(True)", "Last", show=False),
        Binding("pagedown,ctrl+d,ctrl+f", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+u,ctrl+b", "page(-1)", "Page up", show=False),
    ]
    base = Style()

    def render_lines(self, crop: Region) -> list[Strip]:
        self.base = self.rich_style  # worked out from every ancestor: once for all lines
        return super().render_lines(crop)

    def selectable(self, strip: Strip, number: int) -> Strip:
        """The line of this number, so that the mouse can select in it, with what is selected inverted."""
        selection = self.text_selection
        span = selection.get_span(number) if selection is not None else None
        if span is not None:
            start, end = span[0], strip.cell_length if span[1] < 0 else min(span[1], strip.cell_length)
            before, within, after = strip.crop(0, start), strip.crop(start, end), strip.crop(end, strip.cell_length)
            strip = Strip.join([before, within.apply_style(Style(reverse=True)), after])
        return strip.apply_offsets(0, number)

    def set_length(self, lines: int) -> None:
        """It has so many lines now. Textual lays out and draws the whole screen when `virtual_size` is set, which costs more than
        all that changed; only the scrollbar hangs on it here."""
        size = Size(0, lines)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)

    def action_scroll(self, by: int) -> None:
        """Scroll by so many lines."""
        self.scroll_to(y=self.scroll_offset.y + by, animate=False, force=True)

    def action_page(self, by: int) -> None:
        """Scroll by a screenful."""
        self.scroll_to(y=self.scroll_offset.y + by * max(1, self.size.height - 1), animate=False, force=True)

    def action_edge(self, last: bool) -> None:
        """Go to the first line or to the last."""
        self.scroll_to(y=max(0, self.virtual_size.height - self.size.height) if last else 0, animate=False, force=True)
