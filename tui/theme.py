"""Tones to terminal styles (floor 4), from the theme that is on. Refuses to know what is shown."""

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

_TONES = {
    "ok": "success",
    "warn": "warning",
    "bad": "error",
    "info": "primary",
    "accent": "accent",
    "second": "secondary",
    "name": "foreground",
    "plain": "foreground",
}

LABELS = ("primary", "secondary", "accent", "success", "warning")
"""The theme's colours that tell instances apart in logs."""


class Paint:
    """Styles by tone for one theme. Without colours, weight and inversion say what colour would."""

    def __init__(self, variables: Mapping[str, str], *, plain: bool = False) -> None:
        foreground = Color.parse(variables["foreground"])
        background = Color.parse(variables["background"])
        # Themes' greens and yellows are made for dark grounds; on a light one they are read when darker.
        ink = 0.35 if background.ansi is None and background.brightness > 0.5 else 0.0
        mixed = {
            name: Color.parse(variables[name]).blend(foreground, ink).rich_color for name in {*_TONES.values(), *LABELS}
        }
        styles = {tone: Style(color=mixed[name]) for tone, name in _TONES.items()}
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
        self.cursor_unfocused = Style(bgcolor=panel.rich_color, underline=plain)
        self._labels = [Style(color=mixed[name]) for name in LABELS]

    def __getitem__(self, tone: str) -> Style:
        return self._styles[tone]

    def label(self, name: str) -> Style:
        """A colour that stays with a name."""
        return self._labels[sum(name.encode("utf-8", "replace")) % len(self._labels)]


_MIXED_FROM = ("foreground", "background", "panel", *LABELS, *_TONES.values())
_made: dict[tuple[object, ...], Paint] = {}


def paint_of(app: App[Any]) -> Paint:
    """The styles of the theme that is on: mixed once, not for every line that is drawn."""
    # Not by the theme's name: Textual changes it before the colours.
    key = app.no_color, *(app.theme_variables[name] for name in _MIXED_FROM)
    if key not in _made:
        _made[key] = Paint(app.theme_variables, plain=app.no_color)
    return _made[key]


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells, cut with an ellipsis; wide characters are counted as the terminal does."""
    if text.isascii():
        if len(text) > width:
            text = text[: max(0, width - 1)] + "…" if width > 0 else ""
        return text.rjust(width) if right else text.ljust(width)
    length = cell_len(text)
    if length > width:
        return set_cell_size(set_cell_size(text, max(0, width - 1)).rstrip() + "…", width) if width > 0 else ""
    pad = " " * (width - length)
    return pad + text if right else text + pad
