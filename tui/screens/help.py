"""Every key on one page (floor 4)."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import format as look
from tui.theme import paint_of

KEYS = (
    (
        "move",
        (
            ("j k  ↓ ↑", "down, up"),
            ("g G", "first, last; in logs: start, follow"),
            ("Enter", "go in"),
            ("Esc", "go back, never quits"),
            ("Tab", "table ↔ pane"),
        ),
    ),
    (
        "look",
        (("d", "describe"), ("l", "logs"), ("a", "logs of everyone"), ("e", "events"), ("[ ]", "previous, next tab")),
    ),
    (
        "narrow",
        (
            ("/", "filter table, logs or events"),
            ("Ctrl-Z", "problems only"),
            ("z", "fold a service's instances"),
            ("o", "order: problems, name, CPU, memory, restarts"),
        ),
    ),
    (
        "lines",
        (
            ("n N", "next, previous match"),
            ("f", "only matches, or all with matches marked"),
            ("v", "level: all, warning, error"),
            ("w t", "wrap, timestamps"),
        ),
    ),
    (
        "act",
        (
            ("Space", "mark: acts go to all that are marked"),
            ("r s S K", "restart, stop, start, kill"),
            ("c", "copy the address as a curl line"),
            ("mouse", "what is selected in a pane is copied"),
        ),
    ),
    ("more", ((": Ctrl-P", "palette"), ("?", "this page"), ("q", "quit"))),
)


LEFT_WIDTH = 53


class Help(ModalScreen[None]):
    """Keys to the left, states to the right."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(self._page())

    def action_scroll(self, by: int) -> None:
        """Scroll on small terminals."""
        self.query_one("#help", VerticalScroll).scroll_relative(y=by, animate=False)

    def _page(self) -> Text:
        paint = paint_of(self.app)
        left: list[Text] = []
        for title, keys in KEYS:
            left.append(Text(title, paint["head"]))
            left += [Text(f"  {key:<9} ", paint["info"]).append(words, paint["plain"]) for key, words in keys]
        right = [Text("process", paint["head"])]
        right += [Text(f"  {mark}", paint[mark.tone]) for mark in look.PROCESS_MARKS.values()]
        right += [Text(), Text("check", paint["head"])]
        right += [Text(f"  {mark}", paint[mark.tone]) for mark in look.CHECK_MARKS.values()]
        right += [Text(), Text("elsewhere", paint["head"])]
        right += [Text(f"  {words}", paint["plain"]) for words in ("⟳ act in flight", "▾ ▸ open, folded", "◉ marked")]
        page = Text()
        for number in range(max(len(left), len(right))):
            line = left[number] if number < len(left) else Text()
            line.truncate(LEFT_WIDTH, pad=True)
            page.append(line).append(right[number] if number < len(right) else Text()).append("\n")
        page.rstrip()
        return page
