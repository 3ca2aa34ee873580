"""The line at the bottom (floor 4): the keys that matter here, as many as fit, each of them clickable."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual import events

from tui.theme import paint_of
from tui.widgets.static_text import Still


class Key(NamedTuple):
    """A key as it is shown, what it does in a word, and the action that a click runs."""

    shown: str
    words: str
    action: str


TABLE_KEYS = (
    Key("↵", "open", "opened"),
    Key("/", "filter", "filter"),
    Key("d", "describe", "zoom('details')"),
    Key("l", "logs", "zoom('logs')"),
    Key("e", "events", "zoom('events')"),
    Key("r", "restart", "act('restart')"),
    Key("s", "stop", "act('stop')"),
    Key("S", "start", "act('start')"),
    Key("Space", "mark", "mark"),
    Key("^z", "problems", "problems"),
    Key("o", "order", "order"),
    Key("c", "curl", "copy"),
    Key("[ ]", "tab", "tab(1)"),
    Key(":", "palette", "app.command_palette"),
)
LINE_KEYS = (
    Key("Esc", "back", "back"),
    Key("/", "filter", "filter"),
    Key("n", "next", "next"),
    Key("f", "context", "only"),
    Key("G", "follow", "follow"),
    Key("w", "wrap", "wrap"),
    Key("t", "times", "stamps"),
    Key("v", "level", "level"),
    Key("[ ]", "tab", "tab(1)"),
    Key("r", "restart", "act('restart')"),
    Key("s", "stop", "act('stop')"),
    Key(":", "palette", "app.command_palette"),
)
LAST_KEYS = (Key("?", "help", "app.help"), Key("q", "quit", "app.leave"))


class KeyLine(Still):
    """Keys from the left while there is room; help and quit always."""

    _keys: Sequence[Key] = TABLE_KEYS
    _spots: Sequence[tuple[int, int, str]] = ()

    def draw(self, keys: Sequence[Key] | None = None) -> None:
        """Show these keys, or the same as before in another width or theme."""
        self._keys = self._keys if keys is None else keys
        width = self.size.width
        if not width:
            return
        paint = paint_of(self.app)
        reserved = sum(_length(key) for key in LAST_KEYS)
        shown: list[Key] = []
        for key in self._keys:
            if 1 + sum(_length(one) for one in shown) + _length(key) + reserved <= width:
                shown.append(key)
        text, spots = Text(" "), []
        for key in (*shown, *LAST_KEYS):
            start = text.cell_len
            text.append(key.shown, paint["info"] + paint["name"].without_color).append(
                f" {key.words}  ", paint["muted"]
            )
            spots.append((start, text.cell_len, key.action))
        self._spots = spots
        text.truncate(width)
        self.show(text)

    def on_resize(self) -> None:
        """Fit the new width."""
        self.draw()

    async def on_click(self, event: events.Click) -> None:
        """Run the action of the key under the pointer."""
        action = next((action for start, end, action in self._spots if start <= event.x < end), None)
        if action is not None:
            await self.screen.run_action(action)


def _length(key: Key) -> int:
    return len(key.shown) + len(key.words) + 3
