"""What scrolls and draws its own lines (floor 4): a `ScrollView` that grows without the screen being laid out for it."""

from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class LineView(ScrollView, can_focus=True):
    """Its place on the screen does not hang on how many lines it has. `base` is the style of what it draws on."""

    base = Style()

    def render_lines(self, crop: Region) -> list[Strip]:
        self.base = self.rich_style  # worked out from every ancestor: once for all lines
        return super().render_lines(crop)

    def set_length(self, lines: int) -> None:
        """It has so many lines now. Textual lays out and draws the whole screen when `virtual_size` is set, which costs more than
        all that changed; only the scrollbar hangs on it here."""
        size = Size(0, lines)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
