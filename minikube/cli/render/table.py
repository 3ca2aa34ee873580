"""Rows to columns, stamps to ages (floor 4, pure). Every cell is a stranger's string: it is made printable here."""

from collections.abc import Callable, Sequence

from minikube.durations import format_duration
from minikube.text import printable

GAP = "  "


def columns(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int = 0,
    give: int = 0,
    paint: Callable[[str], str] | None = None,
) -> list[str]:
    """Lines with aligned columns, the head first. Past `width` (0: any) the column `give` is shortened.

    `paint` may put colours round a cell's text; it counts for no width.
    """
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    if width and excess > 0:
        widths[give] = max(len(head[give]), 8, widths[give] - excess)
    lines = []
    for number, row in enumerate(cells):
        line = ""
        for cell, size in zip(row, widths, strict=True):
            text = shorten(cell, size)
            line += (paint(text) if paint and number else text) + " " * (size - len(text)) + GAP
        lines.append(line.rstrip())
    return lines


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters, an ellipsis where it was cut."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def age(stamp: float, now: float) -> str:
    """How long ago a Unix stamp was; `-` for none."""
    return format_duration(max(0.0, now - stamp)) if stamp else "-"
