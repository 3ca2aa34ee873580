"""What all screens above the main screen have in common: each is closed once, whatever keys come."""

from typing import Generic

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, ScreenResultType

SMALL_LINES = 12
"""Below this terminal height, a dialog has the whole screen, and scrolls."""


class Dialog(ModalScreen[ScreenResultType], Generic[ScreenResultType]):
    """A screen above the main screen."""

    def on_resize(self, event: events.Resize) -> None:
        """Leave out the frame on a small terminal."""
        self.set_class(event.size.height < SMALL_LINES, "-small")

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close the dialog with a result. Does nothing where it is closed already, or not at the top."""
        # Keys that are typed together, such as `yy`, all reach the dialog that had the focus when they came: without the
        # check, the second one would remove the screen below, or raise.
        if self.app.screen is not self:
            return AwaitComplete()
        return super().dismiss(result)
