"""A page of text that is longer than its place (floor 4): wrapped here, scrolled, drawn again line by line where it differs.

A page whose height belonged to the layout would lay out and draw the whole screen whenever a line comes or goes: in the very
moment in which something happens to the service that it is about.
"""

from itertools import zip_longest

from rich.text import Text
from textual import events
from textual.geometry import Region
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.scroll import LineView


class Page(LineView):
    """Shows one text; stays where it was scrolled to while the text changes."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Text()
        self._laid: list[Text] = []
        self._width = 0

    def show(self, text: Text) -> None:
        """Show this text."""
        if text.plain == self._text.plain and text.spans == self._text.spans:
            return
        self._text = text
        self._lay()

    def on_resize(self, _: events.Resize) -> None:
        self._lay()

    def _lay(self) -> None:
        """Wrap, and send the seen lines that differ."""
        width = self.scrollable_content_region.width
        if not width:
            return
        before, same = self._laid, width == self._width
        self._width, self._laid = width, list(self._text.wrap(self.app.console, width))
        if len(before) != len(self._laid):
            self.set_length(len(self._laid))
        if not same:
            self.refresh()
            return
        top, height = self.scroll_offset.y, self.size.height
        pairs = zip_longest(before[top : top + height], self._laid[top : top + height])
        changed = [y for y, (old, new) in enumerate(pairs) if not _alike(old, new)]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        width, number = self.scrollable_content_region.width, self.scroll_offset.y + y
        if width != self._width:
            self._lay()
        base = self.base
        if number >= len(self._laid):
            return Strip.blank(width, base)
        strip = Strip(self._laid[number].render(self.app.console)).apply_style(base)
        return self.selectable(strip.adjust_cell_length(width, base), number)

    # ------------------------------------------------------------ copying with the mouse

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        return selection.extract("\n".join(line.plain for line in self._laid)), "\n"


def _alike(one: Text | None, other: Text | None) -> bool:
    return one is not None and other is not None and one.plain == other.plain and one.spans == other.spans
