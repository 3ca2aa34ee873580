"""The command palette: Textual's, safe on terminals of any size and for keys that are typed twice."""

from typing import ClassVar

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.command import CommandList, CommandPalette


class Palette(CommandPalette):
    """The command palette."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
    ]

    # Not a subclass of `Dialog`, too: Textual looks for the style classes of a widget in its first base only.
    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close the palette. Does nothing where it is closed already."""
        return super().dismiss() if self.app.screen is self else AwaitComplete()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action may run: not before the list of commands is there, and not after it has been removed."""
        return bool(self.query(CommandList)) and super().check_action(action, parameters)

    def action_page(self, by: int) -> None:
        """Move the cursor by `by` screenfuls of commands."""
        # Textual's own action raises KeyError where the list has no lines, as on a terminal of three.
        commands = self.query_one(CommandList)
        if commands.option_count:
            number = (commands.highlighted or 0) + by * max(1, commands.size.height)
            commands.highlighted = max(0, min(number, commands.option_count - 1))
