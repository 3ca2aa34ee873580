"""The help page: all keys and symbols."""

from typing import ClassVar

from rich.text import Text
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


class HelpScreen(Dialog[None]):
    """The help page: keys on the left, symbols of states on the right."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the page in a scrollable box."""
        with VerticalScroll(id="help"):
            yield Static(self._page())

    def action_scroll(self, by: int) -> None:
        """Scroll by `by` lines, on a terminal that is smaller than the page."""
        self.query_one("#help", VerticalScroll).scroll_relative(y=by, animate=False)

    def _page(self) -> Text:
        """Return the text of the page: two columns."""
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
        page = Text()
        for number in range(max(len(left), len(right))):
            line = left[number] if number < len(left) else Text()
            line.truncate(LEFT_WIDTH, pad=True)
            page.append(line).append(right[number] if number < len(right) else Text()).append("\n")
        page.rstrip()
        return page
