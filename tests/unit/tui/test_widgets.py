"""Widgets that redraw only what differs show the text that they were given last."""

import asyncio
import html
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

from minikube.model import ServiceView, Snapshot
from tests import paths
from tests.unit.tui.fake_project import instance, screen_text
from tui.render.columns import RenderContext, fit_columns, render_cell
from tui.render.describe import describe_row
from tui.render.format import format_age, format_check_age
from tui.render.rows import Row
from tui.render.theme import Styles
from tui.widgets.static_text import StaticText
from tui.widgets.text_view import TextView


class OneWidgetApp(App[None]):
    """An app with one widget, for a small terminal."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


def run_with(widget: Widget, steps: Callable[[App[None], "Pilot[None]"], Awaitable[None]]) -> None:
    async def run() -> None:
        app = OneWidgetApp(widget)
        async with app.run_test(size=(20, 6)) as pilot:
            await pilot.pause()
            await steps(app, pilot)

    asyncio.run(run())


def lines(app: App[None]) -> list[str]:
    return [line.rstrip() for line in screen_text(app)]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [StaticText, TextView])
def test_the_last_of_several_texts_is_shown(kind: type[StaticText] | type[TextView]) -> None:
    widget = kind()

    async def steps(app: App[None], pilot: "Pilot[None]") -> None:
        widget.styles.height = 3
        for texts in (["one\ntwo\nthree"], ["one\n2\nthree"], ["a\n2\nthree", "a\nb\nthree", "a\nb\nc"]):
            for text in texts:
                widget.show(Text(text))
            await pilot.pause()
            assert lines(app)[:3] == texts[-1].split("\n")

    run_with(widget, steps)


def test_only_lines_that_differ_are_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    page, drawn = TextView(), list[int]()

    async def steps(app: App[None], pilot: "Pilot[None]") -> None:
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

    run_with(page, steps)


def test_a_text_view_wraps_and_keeps_its_scroll_position() -> None:
    page = TextView()

    async def steps(app: App[None], pilot: "Pilot[None]") -> None:
        page.show(Text("\n".join(f"a line of many words, number {n}" for n in range(20))))
        page.focus()
        await pilot.press("G")
        await pilot.pause()
        assert lines(app)[5] == "words, number 19"
        page.show(Text("\n".join(f"a line of many words, number {n}" for n in range(21))))
        await pilot.pause()
        assert lines(app)[5].startswith("words, number 19")

    run_with(page, steps)


def test_the_picture_in_the_readme_shows_the_current_columns_and_keys() -> None:
    """If it fails, make the picture again: `minikube up -d` in the checkout, then `python -m tui.screenshot`."""
    picture = html.unescape((paths.ROOT / "dashboard.svg").read_text(encoding="utf-8"))
    text = re.sub(r"<[^>]+>", " ", picture).replace("\N{NO-BREAK SPACE}", " ")
    for column, _ in fit_columns(120, ()):
        assert column.title in text
    for words in ("open", "filter", "help", "quit", "Events", "live", "passing"):
        assert words in text


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
def test_older_ages_change_less_often(ago: float, age: str, check: str) -> None:
    assert format_age(1_000, 1_000 + ago) == age
    assert format_check_age(1_000, 1_000 + ago) == check
    assert format_age(0, ago) == format_check_age(0, ago) == ""


def test_a_container_is_shown_where_it_is_published_and_its_details_have_both_addresses() -> None:
    web = instance("web", address="172.18.0.2:80", published="127.0.0.1:8080")
    snapshot = Snapshot("shop", 1, 1.0, 1.0, "1", 7, services=(ServiceView("web"),), instances=(web,))
    row = Row("s:web", ServiceView("web"), web, (web,))
    assert render_cell("address", row, RenderContext()).text == "127.0.0.1:8080"
    details = describe_row(snapshot, row, RenderContext(), cast(Styles, defaultdict(str))).plain
    assert web.address in details
    assert web.published in details
