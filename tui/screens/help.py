"""The help page: all keys and symbols."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.render.format import CHECK_BADGES, PROCESS_BADGES
from tui.render.theme import styles_for
from tui.screens.dialog import Dialog

KEYS = (
    (
        "move",
        (
            ("j k  ↓ ↑", "down, up"),
            ("g G", "first, last; in logs: start, follow"),
            ("Enter", "open in full screen"),
            ("Esc", "back; never quits"),
            ("Tab", "table ↔ pane"),
        ),
    ),
    (
        "view",
        (
            ("d", "describe"),
            ("l", "logs"),
            ("a", "logs of all services"),
            ("e", "events"),
            ("[ ]", "previous, next tab"),
        ),
    ),
    (
        "filter",
        (
            ("/", "filter table, logs or events"),
            ("Ctrl-Z", "problems only"),
            ("z", "fold a service's instances"),
            ("o", "next order: problems, name, CPU, …"),
        ),
    ),
    (
        "logs and events",
        (
            ("n N", "next, previous match"),
            ("f", "only matches, or matches marked in all"),
            ("v", "level: all, warning, error"),
            ("w t", "wrap, timestamps"),
        ),
    ),
    (
        "command",
        (
            ("Space", "mark: commands go to all marked rows"),
            ("r s S K", "restart, stop, start, kill"),
            ("c", "copy a curl command for the address"),
            ("mouse", "text selected in a pane is copied"),
        ),
    ),
    ("more", ((": Ctrl-P", "palette"), ("?", "this page"), ("q", "quit"))),
)
"""Groups of keys: a title, and the keys with what they do."""

LEFT_WIDTH = 53
"""Terminal cells for the keys; the symbols are to the right of them."""

TWO_COLUMNS_WIDTH = 78
"""From this terminal width on, the symbols are beside the keys."""


class HelpScreen(Dialog[None]):
    """The help page: keys and the symbols of states."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("space,pagedown,ctrl+d,ctrl+f", "scroll_page(1)", show=False),
        Binding("pageup,ctrl+u,ctrl+b", "scroll_page(-1)", show=False),
        Binding("g,home", "scroll_page(-1000)", show=False),
        Binding("G,end", "scroll_page(1000)", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the page in a scrollable box."""
        with VerticalScroll(id="help") as box:
            box.border_subtitle = "Esc: back · Space: next page"
            yield Static(self._page(self.app.size.width))

    def on_resize(self, event: events.Resize) -> None:
        """Lay the page out for the new width."""
        super().on_resize(event)
        self.query_one(Static).update(self._page(event.size.width))

    def action_scroll(self, by: int) -> None:
        """Scroll by `by` lines, on a terminal that is smaller than the page."""
        self.query_one("#help", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_scroll_page(self, by: int) -> None:
        """Scroll by `by` screenfuls."""
        box = self.query_one("#help", VerticalScroll)
        box.scroll_relative(y=by * max(1, box.scrollable_content_region.height - 1), animate=False)

    def _page(self, width: int) -> Text:
        """Return the text of the page: two columns, or one below the other on a terminal that is too narrow."""
        styles = styles_for(self.app)
        left: list[Text] = []
        for title, keys in KEYS:
            left.append(Text(title, styles["head"]))
            left += [Text(f"  {key:<9} ", styles["info"]).append(words, styles["plain"]) for key, words in keys]
        right = [Text("process", styles["head"])]
        right += [Text(f"  {badge}", styles[badge.style]) for badge in PROCESS_BADGES.values()]
        right += [Text(), Text("check", styles["head"])]
        right += [Text(f"  {badge.symbol} {state.value}", styles[badge.style]) for state, badge in CHECK_BADGES.items()]
        right += [Text(), Text("table", styles["head"])]
        symbols = ("⟳ command running", "▾ ▸ open, folded", "◉ marked")
        right += [Text(f"  {words}", styles["plain"]) for words in symbols]
        if width < TWO_COLUMNS_WIDTH:
            return Text("\n").join([*left, Text(), *right])
        page = Text()
        for number in range(max(len(left), len(right))):
            line = left[number] if number < len(left) else Text()
            line.truncate(LEFT_WIDTH, pad=True)
            page.append(line).append(right[number] if number < len(right) else Text()).append("\n")
        page.rstrip()
        return page
