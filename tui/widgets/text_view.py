"""A scrollable text: the details of a row."""

from itertools import zip_longest

from rich.text import Text
from textual import events
from textual.geometry import Region
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.line_scroll_view import LineScrollView


class TextView(LineScrollView):
    """A view of one text, wrapped to the width of the view. It keeps its scroll position when the text changes."""

    # It wraps and draws the text itself. A widget of automatic height would lay out and redraw the whole screen whenever a
    # line is added or removed, at the very moment when the described service changes.

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Text()
        self._wrapped: list[Text] = []
        """The text's lines as they were wrapped for `_width`."""
        self._width = 0

    def show(self, text: Text) -> None:
        """Replace the shown text by `text`."""
        if not _equal(text, self._text):
            self._text = text
            self._wrap()

    def on_resize(self, _: events.Resize) -> None:
        """Wrap for the new width."""
        self._wrap()

    def _wrap(self) -> None:
        """Wrap the text, and redraw the visible lines that differ."""
        width = self.scrollable_content_region.width
        if not width:
            return
        before, same_width = self._wrapped, width == self._width
        self._width, self._wrapped = width, list(self._text.wrap(self.app.console, width))
        if len(before) != len(self._wrapped):
            self.set_line_count(len(self._wrapped))
        if not same_width:
            self.refresh()
            return
        top, height = self.scroll_offset.y, self.size.height
        pairs = zip_longest(before[top : top + height], self._wrapped[top : top + height])
        changed = [y for y, (old, new) in enumerate(pairs) if not _equal(old, new)]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """Return line `y` of the widget."""
        width, number = self.scrollable_content_region.width, self.scroll_offset.y + y
        if width != self._width:
            self._wrap()
        base = self.base_style
        if number >= len(self._wrapped):
            return Strip.blank(width, base)
        strip = Strip(self._wrapped[number].render(self.app.console)).apply_style(base)
        return self.selectable(strip.adjust_cell_length(width, base), number)

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """Return the text that was selected with the mouse, and a newline as the separator of selections."""
        return selection.extract("\n".join(line.plain for line in self._wrapped)), "\n"


def _equal(first: Text | None, second: Text | None) -> bool:
    """Return whether two texts have the same characters and styles."""
    return first is not None and second is not None and first.plain == second.plain and first.spans == second.spans
