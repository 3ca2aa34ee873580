"""The dialog before a destructive command and before quitting. Cancel has the focus, and Escape cancels."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from minikube.text import printable
from tui.screens.dialog import Dialog


class Choice(NamedTuple):
    """A button of the dialog besides Cancel, with a key and a result of its own."""

    result: str
    """The result of the dialog for this choice."""
    label: str
    key: str
    """The key that chooses it."""


class ConfirmScreen(Dialog[str]):
    """A modal dialog with a title, lines of explanation and buttons. It returns the result of a `Choice`, or "" for Cancel."""

    # Enter on a dialog that appeared unexpectedly must not confirm.
    AUTO_FOCUS = "#cancel"

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
        """Lay out the title, the lines and the buttons."""
        with Vertical(id="confirm"):
            yield Static(Text(printable(self._title)), id="confirm-title")
            yield Static(Text("\n".join(printable(line) for line in self._lines)), id="confirm-lines")
            with Horizontal(id="confirm-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                for choice in self._choices:
                    label = Text(f"{choice.label} ({choice.key})").plain
                    yield Button(label, id=f"do-{choice.result}", variant="error", compact=True)

    def on_key(self, event: events.Key) -> None:
        """Close the dialog with the choice of the pressed key."""
        for choice in self._choices:
            if event.character == choice.key:
                self.dismiss(choice.result)
                return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Close the dialog with the choice of the pressed button."""
        self.dismiss((event.button.id or "cancel").removeprefix("do-").replace("cancel", ""))

    def action_cancel(self) -> None:
        """Close the dialog with the result "" (Cancel)."""
        self.dismiss("")
