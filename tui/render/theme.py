"""The dashboard's theme, and terminal styles by name for whichever theme is active."""

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.theme import Theme

THEME = Theme(
    name="minikube",
    primary="#5fb3f6",
    secondary="#a78bfa",
    accent="#f0a45d",
    success="#5fd38d",
    warning="#f2c55c",
    error="#ff6b6b",
    foreground="#d7dde8",
    background="#10141c",
    surface="#161b26",
    panel="#1e2534",
    dark=True,
    variables={"footer-key-foreground": "#5fb3f6", "block-cursor-text-style": "none"},
)

_THEME_COLORS = {
    "ok": "success",
    "warn": "warning",
    "bad": "error",
    "info": "primary",
    "accent": "accent",
    "second": "secondary",
    "name": "foreground",
    "plain": "foreground",
}
"""The theme's colour for each style name."""

LABEL_COLORS = ("primary", "secondary", "accent", "success", "warning")
"""The theme's colours that distinguish instances in logs."""


class Styles:
    """Terminal styles by name, for one theme: `styles["ok"]`.

    With `plain` (no colours), bold, dim, underlined and reversed text takes the place of colours.
    """

    def __init__(self, variables: Mapping[str, str], *, plain: bool = False) -> None:
        foreground = Color.parse(variables["foreground"])
        background = Color.parse(variables["background"])
        # The greens and yellows of many themes suit dark backgrounds only: on a light one they are mixed with the text's
        # colour. An ANSI background has no known brightness.
        share = 0.35 if background.ansi is None and background.brightness > 0.5 else 0.0
        colors = {
            name: Color.parse(variables[name]).blend(foreground, share).rich_color
            for name in {*_THEME_COLORS.values(), *LABEL_COLORS}
        }
        styles = {name: Style(color=colors[color]) for name, color in _THEME_COLORS.items()}
        styles["muted"] = Style(color=background.blend(foreground, 0.58).rich_color, dim=plain)
        styles["spark"] = Style(color=background.blend(Color.parse(variables["primary"]), 0.75).rich_color)
        styles["name"] = styles["name"] + Style(bold=True)
        styles["head"] = Style(color=background.blend(foreground, 0.5).rich_color, bold=True)
        if plain:
            styles["bad"] = styles["bad"] + Style(bold=True)
            styles["warn"] = styles["warn"] + Style(bold=True)
        self._styles = styles
        panel, primary = Color.parse(variables["panel"]), Color.parse(variables["primary"])
        self.cursor = Style(bgcolor=panel.blend(primary, 0.22).rich_color, reverse=plain)
        """The selected line in the widget that has the focus."""
        self.cursor_unfocused = Style(bgcolor=panel.rich_color, underline=plain)
        """The selected line in a widget without the focus."""
        self._labels = [Style(color=colors[name]) for name in LABEL_COLORS]

    def __getitem__(self, name: str) -> Style:
        return self._styles[name]

    def label(self, name: str) -> Style:
        """Return the style for an instance's name; always the same for the same name."""
        return self._labels[sum(name.encode("utf-8", "replace")) % len(self._labels)]


_VARIABLES = ("foreground", "background", "panel", *LABEL_COLORS, *_THEME_COLORS.values())
_cache: dict[tuple[object, ...], Styles] = {}


def styles_for(app: App[Any]) -> Styles:
    """Return the styles of the app's active theme, cached: mixing the colours for each drawn line would cost too much."""
    # The key is made of the colours, not of the theme's name: Textual changes the name before the colours.
    key = app.no_color, *(app.theme_variables[name] for name in _VARIABLES)
    if key not in _cache:
        _cache[key] = Styles(app.theme_variables, plain=app.no_color)
    return _cache[key]


def fit_to_width(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` padded or cut with an ellipsis to exactly `width` terminal cells; `right` aligns it to the right."""
    if text.isascii():  # one cell per character; most texts are
        if len(text) > width:
            text = text[: max(0, width - 1)] + "…" if width > 0 else ""
        return text.rjust(width) if right else text.ljust(width)
    length = cell_len(text)
    if length > width:
        return set_cell_size(set_cell_size(text, max(0, width - 1)).rstrip() + "…", width) if width > 0 else ""
    padding = " " * (width - length)
    return padding + text if right else text + padding
