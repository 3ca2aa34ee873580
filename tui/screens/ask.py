"""Questions before what cannot be taken back (floor 4). The focus is on Cancel, always, and Escape means Cancel."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from minikube.text import printable


class Choice(tuple[str, str, str]):
    """What a button gives back, its words, its key."""

    __slots__ = ()

    def __new__(cls, result: str, words: str, key: str) -> "Choice":
        return super().__new__(cls, (result, words, key))


class Ask(ModalScreen[str]):
    """A title, some lines, and buttons; gives back the chosen result, "" for Cancel."""

    AUTO_FOCUS = "#cancel"
    """Cancel is what Enter hits."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q", "cancel", "Cancel"),
        Binding("left,h,up,k,shift+tab", "app.focus_previous", show=False),
        Binding("right,l,down,j,tab", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[str], choices: Sequence[Choice]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(printable(self._title)), id="ask-title")
            yield Static(Text("\n".join(printable(line) for line in self._lines)), id="ask-lines")
            with Horizontal(id="ask-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                for result, words, key in self._choices:
                    yield Button(Text(f"{words} ({key})").plain, id=f"do-{result}", variant="error", compact=True)

    def on_key(self, event: object) -> None:
        """A choice's own key chooses it."""
        key = getattr(event, "character", None)
        for result, _, wanted in self._choices:
            if key == wanted:
                self.dismiss(result)
                return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Give back what was chosen."""
        self.dismiss((event.button.id or "cancel").removeprefix("do-").replace("cancel", ""))

    def action_cancel(self) -> None:
        """Nothing is done."""
        self.dismiss("")
