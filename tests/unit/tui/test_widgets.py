"""What draws only what differs shows what it was told last, line for line."""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

from tests import paths
from tests.unit.tui.shop import screen_text
from tui.columns import layout
from tui.format import lately, since
from tui.widgets.page import Page
from tui.widgets.static_text import Still


class Alone(App[None]):
    """One widget on a small terminal; notes which of its lines are sent."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


def shown(widget: Widget, scene: Callable[[App[None], "Pilot[None]"], Awaitable[None]]) -> None:
    async def run() -> None:
        app = Alone(widget)
        async with app.run_test(size=(20, 6)) as pilot:
            await pilot.pause()
            await scene(app, pilot)

    asyncio.run(run())


def lines(app: App[None]) -> list[str]:
    return [line.rstrip() for line in screen_text(app)]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Still, Page])
def test_the_last_of_several_texts_is_what_stands_there(kind: type[Still] | type[Page]) -> None:
    widget = kind()

    async def scene(app: App[None], pilot: "Pilot[None]") -> None:
        widget.styles.height = 3
        for texts in (["one\ntwo\nthree"], ["one\n2\nthree"], ["a\n2\nthree", "a\nb\nthree", "a\nb\nc"]):
            for text in texts:
                widget.show(Text(text))
            await pilot.pause()
            assert lines(app)[:3] == texts[-1].split("\n")

    shown(widget, scene)


def test_only_lines_that_differ_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    page, drawn = Page(), list[int]()

    async def scene(app: App[None], pilot: "Pilot[None]") -> None:
        page.show(Text("\n".join(f"line {n}" for n in range(6))))
        await pilot.pause()
        before = page.render_line

        def render_line(y: int) -> object:
            drawn.append(y)
            return before(y)

        monkeypatch.setattr(page, "render_line", render_line)
        page.show(Text("\n".join("changed" if n == 4 else f"line {n}" for n in range(6))))
        await pilot.pause()
        assert drawn == [4]
        assert lines(app)[4] == "changed"

    shown(page, scene)


def test_a_page_wraps_scrolls_and_stays_where_it_was_scrolled_to() -> None:
    page = Page()

    async def scene(app: App[None], pilot: "Pilot[None]") -> None:
        page.show(Text("\n".join(f"a line of many words, number {n}" for n in range(20))))
        page.focus()
        await pilot.press("G")
        await pilot.pause()
        assert lines(app)[5] == "words, number 19"
        page.show(Text("\n".join(f"a line of many words, number {n}" for n in range(21))))
        await pilot.pause()
        assert lines(app)[5].startswith("words, number 19")

    shown(page, scene)


def test_the_readmes_picture_shows_the_columns_and_keys_that_there_are() -> None:
    """Else draw it again: `minikube up -d` in the checkout, then `python -m tui.picture`."""
    picture = html.unescape((paths.ROOT / "dashboard.svg").read_text(encoding="utf-8"))
    said = re.sub(r"<[^>]+>", " ", picture).replace("\N{NO-BREAK SPACE}", " ")
    for column, _ in layout(120, ()):
        assert column.title in said
    for words in ("open", "filter", "help", "quit", "Events", "live", "passing"):
        assert words in said


@pytest.mark.parametrize(
    ("ago", "age", "check"),
    [
        (0, "0s", "<10s"),
        (9, "9s", "<10s"),
        (13, "10s", "10s"),
        (119, "1m55s", "115s"),
        (133, "2m10s", "2m"),
        (700, "11m", "11m"),
    ],
)
def test_ages_move_less_often_the_older_they_are(ago: float, age: str, check: str) -> None:
    assert since(1_000, 1_000 + ago) == age
    assert lately(1_000, 1_000 + ago) == check
    assert since(0, ago) == lately(0, ago) == ""
