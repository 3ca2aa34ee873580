"""A widget for a text that rarely changes its size: redraws only the lines that differ."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Self

from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class StaticText(Static):
    """A `Static` with a `show` method that redraws only lines that differ, and lays the screen out only for a new height."""

    # The header is shown anew every second, mostly with the same text. `Static.update` would lay out the whole screen each
    # time, which costs more than all other drawing.

    _shown: Text | None = None
    _strips: Sequence[Strip] = ()
    _updating = False

    def show(self, text: Text) -> None:
        """Replace the shown text by `text`."""
        before = self._shown
        if before is not None and before.plain == text.plain and before.spans == text.spans:
            return
        self._shown = text
        height = self.styles.height
        auto_height = height is None or height.is_auto
        # A text of another length may wrap into another number of lines. An age that counts up mostly keeps its length.
        if before is None or (auto_height and len(before.plain) != len(text.plain)):
            self.update(text)
            self._strips = ()
        else:
            self._update_changed_lines(text)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Redraw, as every widget does; ignored while `_update_changed_lines` calls `update`."""
        if self._updating:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _update_changed_lines(self, text: Text) -> None:
        """Replace the text and redraw the lines that differ."""
        self._updating = True
        try:
            self.update(text, layout=False)
        finally:
            self._updating = False
        before, self._strips = self._strips, Visual.to_strips(self, self.visual, *self.size, self.visual_style)
        changed = [y for y, (old, new) in enumerate(zip_longest(before, self._strips)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))
