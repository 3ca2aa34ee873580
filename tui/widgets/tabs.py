"""The line over the lower pane (floor 4): its tabs, what they are about, and how it is shown."""

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message

from tui.theme import paint_of
from tui.widgets.static_text import Still


class TabLine(Still):
    """`1 Events  2 Logs  3 Details ── product`, with flags to the right."""

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = names
        self._drawn: tuple[object, ...] = ()
        self._ends: list[int] = []

    def draw(self, active: int, about: str, flags: str) -> None:
        """Show which tab is on, what it is about and the flags; both are already clean."""
        drawn = (active, about, flags, self.size.width, paint_of(self.app))
        if drawn == self._drawn or not self.size.width:
            return
        self._drawn = drawn
        paint = paint_of(self.app)
        text, self._ends = Text(" "), []
        for number, name in enumerate(self._names):
            style = paint.cursor + paint["name"] if number == active else paint["muted"]
            text.append(f" {name} ", style).append(" ")
            self._ends.append(text.cell_len)
        text.append(f" {about}", paint["info"])
        right = Text(f"{flags} ", paint["muted"])
        text.truncate(max(0, self.size.width - right.cell_len), overflow="ellipsis", pad=True)
        self.show(text + right)

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the pointer."""
        number = next((n for n, end in enumerate(self._ends) if event.x < end), None)
        if number is not None:
            self.post_message(self.Chosen(number))
