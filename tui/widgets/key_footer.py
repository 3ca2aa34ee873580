"""The line at the bottom: the most useful keys, as many as fit. Each can be clicked."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual import events

from tui.render.theme import styles_for
from tui.widgets.static_text import StaticText


class Key(NamedTuple):
    """A key of the footer."""

    key: str
    """The name of the key, as shown."""
    label: str
    """The effect of the key, in a word."""
    action: str
    """The Textual action that a click runs."""


TABLE_KEYS = (
    Key("↵", "open", "open_row"),
    Key("/", "filter", "filter"),
    Key("d", "describe", "zoom('details')"),
    Key("l", "logs", "zoom('logs')"),
    Key("e", "events", "zoom('events')"),
    Key("r", "restart", "command('restart')"),
    Key("s", "stop", "command('stop')"),
    Key("S", "start", "command('start')"),
    Key("Space", "mark", "mark"),
    Key("^z", "problems", "problems"),
    Key("o", "order", "order"),
    Key("c", "curl", "copy_address"),
    Key("[ ]", "tab", "tab(1)"),
    Key(":", "palette", "app.command_palette"),
)
"""Keys while the table is visible."""

LOG_KEYS = (
    Key("Esc", "back", "back"),
    Key("/", "filter", "filter"),
    Key("n", "next", "next_match"),
    Key("f", "context", "only_matches"),
    Key("G", "follow", "follow"),
    Key("w", "wrap", "wrap"),
    Key("t", "times", "timestamps"),
    Key("v", "level", "level"),
    Key("[ ]", "tab", "tab(1)"),
    Key("r", "restart", "command('restart')"),
    Key("s", "stop", "command('stop')"),
    Key(":", "palette", "app.command_palette"),
)
"""Keys while the pane has the whole screen."""

LAST_KEYS = (Key("?", "help", "app.help"), Key("q", "quit", "app.leave"))
"""Keys that are always shown."""


class KeyFooter(StaticText):
    """The bottom line: as many keys as fit, then help and quit."""

    _keys: Sequence[Key] = TABLE_KEYS
    _click_regions: Sequence[tuple[int, int, str]] = ()
    """The first column, the column after the last one, and the action of each shown key."""

    def draw(self, keys: Sequence[Key] | None = None) -> None:
        """Show these keys; if `keys` is None, redraw the current ones for another width or theme."""
        self._keys = self._keys if keys is None else keys
        width = self.size.width
        if not width:
            return
        styles = styles_for(self.app)
        reserved = sum(_width(key) for key in LAST_KEYS)
        shown: list[Key] = []
        for key in self._keys:
            if 1 + sum(_width(other) for other in shown) + _width(key) + reserved <= width:
                shown.append(key)
        text, regions = Text(" "), []
        for key in (*shown, *LAST_KEYS):
            start = text.cell_len
            text.append(key.key, styles["info"] + styles["name"].without_color)
            text.append(f" {key.label}  ", styles["muted"])
            regions.append((start, text.cell_len, key.action))
        self._click_regions = regions
        text.truncate(width)
        self.show(text)

    def on_resize(self) -> None:
        """Draw for the new width."""
        self.draw()

    async def on_click(self, event: events.Click) -> None:
        """Run the action of the key under the pointer."""
        action = next((action for start, end, action in self._click_regions if start <= event.x < end), None)
        if action is not None:
            await self.screen.run_action(action)


def _width(key: Key) -> int:
    """Return the terminal cells that a key takes: one after the key, two after its label."""
    return len(key.key) + len(key.label) + 3
