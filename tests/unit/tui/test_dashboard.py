"""The dashboard on a terminal that is not there: what it shows, what it asks, what it outlives."""

import time

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from minikube.model import CheckState, Event, ProcessState
from tests.eventually import PATIENCE_S
from tests.unit.tui.shop import LARGE, SMALL, FakeFeed, crowd, instance, play, screen_text, shop
from tui.app import Dashboard
from tui.feed import Act, Linked, Updated
from tui.screens.ask import Ask
from tui.theme import Paint

HOSTILE = "[/blue] \x1b[31mred\x1b[0m \u202egnp.exe \x9b2J \x07"


async def settle(pilot: Pilot[str]) -> None:
    for _ in range(3):
        await pilot.pause()


async def sees(app: Dashboard, pilot: Pilot[str], words: str) -> None:
    """Waits until the terminal shows `words`."""
    deadline = time.monotonic() + PATIENCE_S
    while words not in text(app):
        assert time.monotonic() < deadline, f"{words!r} is not shown:\n{text(app)}"
        await pilot.pause(0.02)


def text(app: Dashboard) -> str:
    return "\n".join(screen_text(app))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_service_and_its_state_are_seen_at_both_sizes(size: tuple[int, int]) -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        lines = screen_text(app)
        assert len(lines) == size[1]
        assert all(len(line) == size[0] for line in lines)
        page = "\n".join(lines)
        for words in ("shop", "● running", "✓ passing", "✗ critical", "127.0.0.1:7070", "↻ backoff", "4 passing"):
            assert words in page
        assert "redis ●" in page
        assert "registry ●" in page
        assert ("LAST OUTPUT" in page) is (size == LARGE)

    play(scene, size=size, snapshot=shop())


def test_hostile_strings_are_shown_and_obeyed_nowhere() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        for key in ("d", "l"):
            await pilot.press(key)
            await settle(pilot)
            if key == "l":
                feed.logs(HOSTILE)
                await settle(pilot)
                await sees(app, pilot, "[/blue]")
            page = text(app)
            assert not set(page) & set("\x1b\u202e\x9b\x07")
        await pilot.press("escape")
        await pilot.press("r")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        await pilot.press("escape")
        feed.done(Act("restart", HOSTILE), HOSTILE)
        await settle(pilot)
        await pilot.press("colon")
        await settle(pilot)
        assert not set(text(app)) & set("\x1b\u202e\x9b\x07")

    bad = instance("evil", output=HOSTILE, reason=HOSTILE, check=CheckState.CRITICAL, exit=HOSTILE, address=HOSTILE)
    event = Event(1, time.time(), "x", HOSTILE, service="evil", instance=HOSTILE)
    play(scene, size=LARGE, snapshot=shop(bad, events=(event,)))


def test_the_cursor_stays_on_its_row_while_rows_come_and_go() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        table = app.screen.query_one("#table")
        await pilot.press("G", "k", "k")
        row = app._main.row
        assert row is not None
        before = row.key
        feed.post(Updated(shop(instance("worker-0", "worker"), instance("another"), revision=2)))
        await settle(pilot)
        row = app._main.row
        assert row is not None
        assert row.key == before
        assert table.has_focus

    play(scene, snapshot=shop())


def test_a_destructive_act_asks_with_the_focus_on_cancel_and_names_who_depends_on_it() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("s")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        assert isinstance(app.focused, Button)
        assert app.focused.id == "cancel"
        await sees(app, pilot, "Stop product?")
        await sees(app, pilot, "needed by: gateway, order")
        await pilot.press("enter")
        await settle(pilot)
        assert not feed.acts
        await pilot.press("K", "y")
        await settle(pilot)
        assert feed.acts == [Act("kill", "product")]
        await pilot.press("S")
        await settle(pilot)
        assert feed.acts[-1] == Act("start", "product")

    play(scene, snapshot=shop())


def test_an_act_in_flight_and_the_servers_error_are_shown() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("r", "y")
        await settle(pilot)
        await sees(app, pilot, "product ⟳")
        feed.done(Act("restart", "product"), "port 7070 is taken")
        await settle(pilot)
        assert "⟳" not in text(app)
        await sees(app, pilot, "port 7070 is taken")

    play(scene, size=LARGE, snapshot=shop())


def test_it_stays_up_when_the_supervisor_goes_away_and_recovers() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        feed.post(Linked("lost", "closed"))
        await settle(pilot)
        await sees(app, pilot, "reconnecting")
        await sees(app, pilot, "product")
        assert app._main.has_class("-stale")
        await pilot.press("r")
        await settle(pilot)
        assert not isinstance(app.screen, Ask)
        feed.live(shop(instance("newcomer"), started=time.time(), revision=1))
        await settle(pilot)
        await sees(app, pilot, "⇄ live")
        await sees(app, pilot, "newcomer")
        assert not app._main.has_class("-stale")

    play(scene, snapshot=shop())


def test_escape_never_quits() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("enter", "escape", "escape", "question_mark", "escape", "slash", "x", "escape", "escape")
        await settle(pilot)
        assert app.is_running
        assert app.screen is app._main
        await sees(app, pilot, "product")

    play(scene, snapshot=shop())


@pytest.mark.parametrize(("keys", "answer"), [(("q", "s"), "stop"), (("q", "d"), "detach"), (("ctrl+c",), "stop")])
def test_the_owner_is_asked_what_becomes_of_the_project(keys: tuple[str, ...], answer: str) -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    assert play(scene, snapshot=shop(), owner=True) == answer


def test_who_only_looks_quits_without_a_question() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("q")
        await settle(pilot)

    assert play(scene, snapshot=shop()) == "quit"


def test_the_filter_and_problems_only_narrow_the_table() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("slash", *"order", "enter")
        await settle(pilot)
        assert [row.target for row in app._main.table.rows] == ["order"]
        await pilot.press("escape", "ctrl+z")
        await settle(pilot)
        assert [row.target for row in app._main.table.rows] == ["worker", "worker-3"]
        await pilot.press("escape")
        await settle(pilot)
        assert len(app._main.table.rows) == 8

    play(scene, snapshot=shop())


def test_logs_are_followed_for_the_selected_service_and_kept_within_bounds() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        assert feed.followed[-1][1] == ("product",)
        for start in range(0, 12_000, 2_000):
            feed.logs(*[f"line {n}" for n in range(start, start + 2_000)])
            await settle(pilot)
        assert len(app._main.logs) <= 5_500
        await sees(app, pilot, "line 11999")
        await pilot.press("g")
        feed.logs("a late line")
        await settle(pilot)
        assert "a late line" not in text(app)
        await pilot.press("G")
        await settle(pilot)
        await sees(app, pilot, "a late line")
        await pilot.press("w", "t", "v", "v")
        await settle(pilot)
        await sees(app, pilot, "nothing matches")

    play(scene, snapshot=shop())


def test_a_thousand_rows_are_followed_quickly() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        spent = 0.0
        for revision in range(2, 7):
            app.snapshot = crowd(1_000, revision)
            begun = time.process_time()
            app._main.refresh_data()
            spent += time.process_time() - begun
            await pilot.press("j")
        assert spent / 5 < 0.2, "a third of a second, were the table made anew"
        await sees(app, pilot, "revision 6")
        assert app._main.table.cursor == 5

    play(scene, size=LARGE, snapshot=crowd(1_000))


def test_nothing_depends_on_colour_where_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        strips = app.screen._compositor.render_strips(app.size)
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        assert all(style.color is None or style.color.is_default for style in styles)
        assert all(style.bgcolor is None or style.bgcolor.is_default for style in styles)
        await sees(app, pilot, "✗ critical")

    play(scene, snapshot=shop())


def test_a_state_without_a_mark_does_not_exist() -> None:
    from tui.format import CHECK_MARKS, PROCESS_MARKS

    assert set(PROCESS_MARKS) == set(ProcessState)
    assert set(CHECK_MARKS) == set(CheckState)
    assert len({mark.symbol for mark in PROCESS_MARKS.values()}) == len(PROCESS_MARKS)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "textual-dark"])
def test_another_theme_is_on_everywhere_at_once(theme: str) -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        app.theme = theme
        await settle(pilot)
        paint = Paint(app.theme_variables)
        wanted = {paint["info"].color, paint["muted"].color}
        strips = app.screen._compositor.render_strips(app.size)
        assert wanted <= {segment.style.color for segment in strips[-1] if segment.style}
        names = {
            segment.style.color for strip in strips for segment in strip if segment.style and "order" in segment.text
        }
        assert paint["name"].color in names

    play(scene, snapshot=shop())


def test_the_reason_under_the_table_leaves_when_the_terminal_has_room_for_the_details() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("j", "j", "j", "j")
        await sees(app, pilot, "worker-3: exited with 1 after 0.4s")
        await pilot.resize_terminal(*LARGE)
        await settle(pilot)
        assert "worker-3: exited" not in "\n".join(line for line in text(app).splitlines() if "worker  " not in line)
        await pilot.resize_terminal(*SMALL)
        await sees(app, pilot, "worker-3: exited with 1 after 0.4s")

    play(scene, snapshot=shop())
