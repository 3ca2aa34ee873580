"""Text that stands still (floor 4): drawn again only when it differs, laid out again only when it is of another height."""

from rich.text import Text
from textual.widgets import Static


class Still(Static):
    """Most of what a tick would draw is what stands there already; laying out the screen for it costs more than all else."""

    _shown: Text | None = None

    def show(self, text: Text) -> None:
        """Show this text."""
        before = self._shown
        if before is not None and before.plain == text.plain and before.spans == text.spans:
            return
        self._shown = text
        height = self.styles.height
        grows = height is None or height.is_auto
        # Of another length it may wrap otherwise; an age that goes on by a second mostly is not.
        self.update(text, layout=before is None or (grows and len(before.plain) != len(text.plain)))
