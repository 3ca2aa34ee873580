"""Text that stands still (floor 4): drawn again line by line where it differs, laid out again when its height may."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Self

from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class Still(Static):
    """Most of what a tick would draw is what stands there already; laying out the screen for it costs more than all else."""

    _shown: Text | None = None
    _strips: Sequence[Strip] = ()
    _exchanging = False

    def show(self, text: Text) -> None:
        """Show this text."""
        before = self._shown
        if before is not None and before.plain == text.plain and before.spans == text.spans:
            return
        self._shown = text
        height = self.styles.height
        grows = height is None or height.is_auto
        # Of another length it may wrap otherwise; an age that goes on by a second mostly is not.
        if before is None or (grows and len(before.plain) != len(text.plain)):
            self.update(text)
            self._strips = ()
        else:
            self._exchange(text)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As everywhere; an exchange says for itself what is to be drawn."""
        if self._exchanging:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _exchange(self, text: Text) -> None:
        self._exchanging = True
        try:
            self.update(text, layout=False)
        finally:
            self._exchanging = False
        before, self._strips = self._strips, self._draw()
        changed = [y for y, (old, new) in enumerate(zip_longest(before, self._strips)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def _draw(self) -> list[Strip]:
        return Visual.to_strips(self, self.visual, *self.size, self.visual_style)
