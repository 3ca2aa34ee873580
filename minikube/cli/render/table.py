"""Rows as aligned columns, and ages. Pure. Every cell is made printable here."""

from collections.abc import Callable, Sequence

from minikube.durations import format_duration
from minikube.text import printable

GAP = "  "
SHRUNK_WIDTH = 8
"""The least width of a column that is shortened."""


def columns(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int = 0,
    shrink: int = 0,
    paint: Callable[[str], str] | None = None,
) -> list[str]:
    """Return the rows as lines with aligned columns, the head first.

    Where a line is longer than `width` characters (0: no limit), the texts in the column number `shrink` are shortened.
    `paint` adds colours to a cell, which do not count for the width.
    """
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    if width and excess > 0:
        widths[shrink] = max(len(head[shrink]), SHRUNK_WIDTH, widths[shrink] - excess)
    lines = []
    for number, row in enumerate(cells):
        line = ""
        for cell, size in zip(row, widths, strict=True):
            text = shorten(cell, size)
            line += (paint(text) if paint and number else text) + " " * (size - len(text)) + GAP
        lines.append(line.rstrip())
    return lines


def shorten(text: str, width: int) -> str:
    """Return `text` cut to `width` characters, with an ellipsis at its end where it was cut."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def age(stamp: float, now: float) -> str:
    """Return the time from `stamp` (Unix seconds) to `now` as text, such as `1h02m`; `-` for 0."""
    return format_duration(max(0.0, now - stamp)) if stamp else "-"
