"""The line above the lower pane: the tabs, what the active one is about, and flags such as `wrap`."""

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message

from tui.render.theme import styles_for
from tui.widgets.static_text import StaticText


class TabBar(StaticText):
    """The tab names and the subject of the active tab, as in `Events  Logs  Details  product`; flags are on the right."""

    class Selected(Message):
        """The user clicked a tab."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = names
        self._drawn: tuple[object, ...] = ()
        """The arguments of the last `draw`: a call with the same ones does nothing."""
        self._ends: list[int] = []
        """The column after each tab, for clicks."""

    def draw(self, active: int, subject: str, flags: str) -> None:
        """Show the tab with index `active`, the service or instance that it shows (`subject`), and its flags.

        Both texts must be printable.
        """
        styles = styles_for(self.app)
        drawn = (active, subject, flags, self.size.width, styles)
        if drawn == self._drawn or not self.size.width:
            return
        self._drawn = drawn
        text, self._ends = Text(" "), []
        for number, name in enumerate(self._names):
            style = styles.cursor + styles["name"] if number == active else styles["muted"]
            text.append(f" {name} ", style).append(" ")
            self._ends.append(text.cell_len)
        text.append(f" {subject}", styles["info"])
        right = Text(f"{flags} ", styles["muted"])
        text.truncate(max(0, self.size.width - right.cell_len), overflow="ellipsis", pad=True)
        self.show(text + right)

    def on_click(self, event: events.Click) -> None:
        """Post `Selected` for the tab under the pointer."""
        number = next((n for n, end in enumerate(self._ends) if event.x < end), None)
        if number is not None:
            self.post_message(self.Selected(number))
