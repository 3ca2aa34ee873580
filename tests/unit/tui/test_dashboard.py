"""The dashboard without a terminal: what it shows, what it asks, and lost connections."""

import time

import msgspec
import pytest
from msgspec import UNSET
from textual.pilot import Pilot
from textual.widgets import Button

from minikube.model import CheckState, Event, InstanceView, LogLine, PartView, ProcessState, ServiceView, Usage
from tests.eventually import PATIENCE_S
from tests.unit.tui.fake_project import (
    LARGE,
    SMALL,
    FakeConnection,
    instance,
    run_dashboard,
    screen_text,
    shop,
    shop_with_instances,
)
from tui.app import Dashboard
from tui.connection.interface import Command
from tui.connection.messages import ConnectionChanged, ConnectionState, LogLinesReceived, LogsEnded, SnapshotReceived
from tui.render.columns import RenderContext, render_cell
from tui.render.rows import Row, build_rows, count_instances
from tui.render.theme import Styles
from tui.screens.confirm import ConfirmScreen

HOSTILE = "[/blue] \x1b[31mred\x1b[0m \u202egnp.exe \x9b2J \x07"


async def wait_idle(pilot: Pilot[str]) -> None:
    for _ in range(3):
        await pilot.pause()


async def wait_for(app: Dashboard, pilot: Pilot[str], words: str) -> None:
    """Wait until the screen shows `words`."""
    deadline = time.monotonic() + PATIENCE_S
    while words not in screen(app):
        assert time.monotonic() < deadline, f"{words!r} is not shown:\n{screen(app)}"
        await pilot.pause(0.02)


def screen(app: Dashboard) -> str:
    return "\n".join(screen_text(app))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_services_and_states_are_shown_at_both_sizes(size: tuple[int, int]) -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        lines = screen_text(app)
        assert len(lines) == size[1]
        assert all(len(line) == size[0] for line in lines)
        page = "\n".join(lines)
        for words in ("shop", "● running", "✓ passing", "✗ critical", "127.0.0.1:7070", "↻ backoff", "4 passing"):
            assert words in page
        assert "redis ●" in page
        assert "registry ●" in page
        assert ("LAST OUTPUT" in page) is (size == LARGE)

    run_dashboard(steps, size=size, snapshot=shop())


def test_escape_sequences_in_strings_from_outside_never_reach_the_terminal() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        for key in ("d", "l"):
            await pilot.press(key)
            await wait_idle(pilot)
            if key == "l":
                connection.send_logs(HOSTILE)
                await wait_idle(pilot)
                await wait_for(app, pilot, "[/blue]")
            page = screen(app)
            assert not set(page) & set("\x1b\u202e\x9b\x07")
        await pilot.press("escape")
        await pilot.press("r")
        await wait_idle(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("escape")
        connection.finish(Command("restart", HOSTILE), HOSTILE)
        await wait_idle(pilot)
        await pilot.press("colon")
        await wait_idle(pilot)
        assert not set(screen(app)) & set("\x1b\u202e\x9b\x07")

    bad = instance("evil", output=HOSTILE, reason=HOSTILE, check=CheckState.CRITICAL, exit=HOSTILE, address=HOSTILE)
    event = Event(1, time.time(), "x", HOSTILE, service="evil", instance=HOSTILE)
    run_dashboard(steps, size=LARGE, snapshot=shop(bad, events=(event,)))


def test_the_cursor_stays_on_its_row_when_rows_are_added() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        table = app.screen.query_one("#table")
        await pilot.press("G", "k", "k")
        row = app._main.row
        assert row is not None
        before = row.key
        connection.post(SnapshotReceived(shop(instance("worker-0", "worker"), instance("another"), revision=2)))
        await wait_idle(pilot)
        row = app._main.row
        assert row is not None
        assert row.key == before
        assert table.has_focus

    run_dashboard(steps, snapshot=shop())


def test_a_destructive_command_asks_with_the_focus_on_cancel_and_names_dependent_services() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("s")
        await wait_idle(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        assert isinstance(app.focused, Button)
        assert app.focused.id == "cancel"
        await wait_for(app, pilot, "Stop product?")
        await wait_for(app, pilot, "needed by: gateway, order")
        await pilot.press("enter")
        await wait_idle(pilot)
        assert not connection.commands
        await pilot.press("K", "y")
        await wait_idle(pilot)
        assert connection.commands == [Command("kill", "product")]
        await pilot.press("S")
        await wait_idle(pilot)
        assert connection.commands[-1] == Command("start", "product")

    run_dashboard(steps, snapshot=shop())


def test_a_command_in_flight_and_its_error_are_shown() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("r", "y")
        await wait_idle(pilot)
        await wait_for(app, pilot, "product ⟳")
        connection.finish(Command("restart", "product"), "port 7070 is taken")
        await wait_idle(pilot)
        assert "⟳" not in screen(app)
        await wait_for(app, pilot, "port 7070 is taken")

    run_dashboard(steps, size=LARGE, snapshot=shop())


def test_a_lost_connection_keeps_the_last_state_visible_until_it_is_live_again() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        connection.post(ConnectionChanged("lost", "closed"))
        await wait_idle(pilot)
        await wait_for(app, pilot, "reconnecting")
        await wait_for(app, pilot, "product")
        assert app._main.has_class("-stale")
        await pilot.press("r")
        await wait_idle(pilot)
        assert not isinstance(app.screen, ConfirmScreen)
        connection.connect(shop(instance("newcomer"), started=time.time(), revision=1))
        await wait_idle(pilot)
        await wait_for(app, pilot, "⇄ live")
        await wait_for(app, pilot, "newcomer")
        assert not app._main.has_class("-stale")

    run_dashboard(steps, snapshot=shop())


def test_a_supervisor_that_does_not_answer_is_not_live_and_no_command_is_sent() -> None:
    """What is shown then says how old it is."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        connection.post(ConnectionChanged("silent"))
        await wait_for(app, pilot, "▲ no answer, as of ")
        assert "live" not in screen(app)
        assert app._main.has_class("-stale")
        await pilot.press("r")
        await wait_for(app, pilot, "nothing was done")
        connection.post(ConnectionChanged("live"))
        await wait_for(app, pilot, "⇄ live")
        assert (connection.commands, app._main.has_class("-stale")) == ([], False)

    run_dashboard(steps, snapshot=shop())


def test_an_external_instance_is_not_running_and_is_red_when_its_check_fails() -> None:
    """Another program runs it, perhaps elsewhere: only its check is known."""
    failing = instance("db", id="db-1", check=CheckState.CRITICAL, pid=0, output="refused")
    passing = instance("cache", id="cache-1", pid=0)
    snapshot = shop(failing, passing)
    externals = tuple(ServiceView(name, "external", register="self") for name in ("db", "cache"))
    snapshot = msgspec.structs.replace(snapshot, services=(*snapshot.services, *externals))
    rows = {row.service.name: row for row in build_rows(snapshot)}
    cells = {name: render_cell("state", rows[name], RenderContext()) for name in ("db", "cache", "product")}
    assert {name: tuple(cell) for name, cell in cells.items()} == {
        "db": ("□ external", "bad"),
        "cache": ("□ external", "muted"),
        "product": ("● running", "ok"),
    }
    both = Row("s:db", rows["db"].service, None, (failing, passing))
    assert tuple(render_cell("state", both, RenderContext())) == ("□ external", "bad")
    assert count_instances((failing,)).critical == 1


def test_the_memory_of_a_service_is_that_of_its_running_instances() -> None:
    running = instance("worker-1", "worker", id="1")
    stopped = instance("worker-2", "worker", id="2", state=ProcessState.STOPPED, pid=0)
    row = Row("s:worker", ServiceView("worker", replicas=2), None, (running, stopped))
    usage = {id: Usage(id, 1.0, 10 * 1024 * 1024) for id in ("1", "2")}
    assert render_cell("memory", row, RenderContext(usage=usage)).text == "10M"


def test_a_part_that_hangs_is_red_in_the_header() -> None:
    hung = PartView("redis", ProcessState.RUNNING, "redis.sock", 7, detail="does not answer", check=CheckState.CRITICAL)

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_for(app, pilot, "redis ✗ does not answer")

    run_dashboard(steps, size=LARGE, snapshot=msgspec.structs.replace(shop(), parts=(hung,)))


def test_escape_never_quits() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("enter", "escape", "escape", "question_mark", "escape", "slash", "x", "escape", "escape")
        await wait_idle(pilot)
        assert app.is_running
        assert app.screen is app._main
        await wait_for(app, pilot, "product")

    run_dashboard(steps, snapshot=shop())


@pytest.mark.parametrize(("keys", "answer"), [(("q", "s"), "stop"), (("q", "d"), "detach"), (("ctrl+c",), "interrupt")])
def test_quitting_asks_the_owner_whether_to_stop_the_project(keys: tuple[str, ...], answer: str) -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        for key in keys:
            await pilot.press(key)
            await wait_idle(pilot)

    assert run_dashboard(steps, snapshot=shop(), owner=True) == answer


@pytest.mark.parametrize(
    ("state", "trouble"), [("lost", "cannot be reached: closed"), ("silent", "does not answer: closed")]
)
def test_what_runs_is_no_news_where_the_supervisor_is_gone(state: ConnectionState, trouble: str) -> None:
    """The question then says why, and of when the number is."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        connection.post(ConnectionChanged(state, "closed"))
        await wait_idle(pilot)
        await pilot.press("q")
        await wait_idle(pilot)
        await wait_for(app, pilot, trouble)
        await wait_for(app, pilot, "4 instances running ")
        await wait_for(app, pilot, "If the supervisor has ended, so have they.")

    run_dashboard(steps, snapshot=shop(), owner=True)


def test_quitting_a_dashboard_that_did_not_start_the_project_asks_nothing() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("q")
        await wait_idle(pilot)

    assert run_dashboard(steps, snapshot=shop()) == "quit"


def test_a_task_that_ended_with_success_is_counted_as_completed() -> None:
    instances = [
        InstanceView("1", "a", "a", ProcessState.EXITED, exit="exit 0"),
        InstanceView("2", "b", "b", ProcessState.EXITED, exit="exit 1"),
        InstanceView("3", "c", "c", ProcessState.STOPPED),
    ]
    counts = count_instances(instances)
    assert (counts.total, counts.completed, counts.failed, counts.stopped) == (3, 1, 1, 1)


def test_the_filter_and_problems_only_limit_the_rows_of_the_table() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("slash", *"order", "enter")
        await wait_idle(pilot)
        assert [row.target for row in app._main.table.rows] == ["order"]
        await pilot.press("escape", "ctrl+z")
        await wait_idle(pilot)
        assert [row.target for row in app._main.table.rows] == ["worker", "worker-3"]
        await pilot.press("escape")
        await wait_idle(pilot)
        assert len(app._main.table.rows) == 8

    run_dashboard(steps, snapshot=shop())


def test_logs_of_the_selected_service_are_followed_in_bounded_memory() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        assert connection.followed[-1][1] == ("product",)
        for start in range(0, 12_000, 2_000):
            connection.send_logs(*[f"line {n}" for n in range(start, start + 2_000)])
            await wait_idle(pilot)
        assert len(app._main.logs) <= 5_500
        await wait_for(app, pilot, "line 11999")
        await pilot.press("g")
        connection.send_logs("a late line")
        await wait_idle(pilot)
        assert "a late line" not in screen(app)
        await pilot.press("G")
        await wait_idle(pilot)
        await wait_for(app, pilot, "a late line")
        await pilot.press("w", "t", "v", "v")
        await wait_idle(pilot)
        await wait_for(app, pilot, "nothing matches")

    run_dashboard(steps, snapshot=shop())


def test_lines_of_logs_that_are_not_followed_any_more_are_left_out() -> None:
    """They, and their end, may have been on their way when another service was selected."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        request = connection.followed[-1][0]
        line = LogLine(1.0, "product", "product", "stdout", "an earlier line")
        connection.post(
            LogLinesReceived(request - 1, [line], restarted=True), LogsEnded(request - 1, "the earlier end")
        )
        connection.send_logs("a line")
        await wait_for(app, pilot, "a line")
        assert [entry.text for entry in app._main.logs.entries] == ["a line"]

    run_dashboard(steps, snapshot=shop())


def test_a_line_takes_the_place_of_the_incomplete_one_before_it() -> None:
    """Of the same instance and stream, also where both come together, and where the view shows matches only."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        request = connection.followed[-1][0]

        def line(text: str, stream: str = "stdout", *, partial: bool = False) -> LogLine:
            return LogLine(1.0, "product", "product", stream, text, partial=partial or UNSET)

        connection.post(LogLinesReceived(request, [line("Pass", partial=True), line("other", "stderr")]))
        await wait_for(app, pilot, "Pass")
        connection.post(LogLinesReceived(request, [line("Password: ", partial=True), line("Password: x")]))
        await wait_for(app, pilot, "Password: x")
        connection.post(LogLinesReceived(request, [line("and another")]))
        await wait_for(app, pilot, "and another")
        assert [entry.text for entry in app._main.logs.entries] == ["other", "Password: x", "and another"]
        assert sum("Pass" in text for text in screen_text(app)) == 1

    run_dashboard(steps, snapshot=shop())


def test_a_snapshot_with_a_thousand_rows_is_shown_quickly() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        spent = 0.0
        for revision in range(2, 7):
            app.state.snapshot = shop_with_instances(1_000, revision)
            started = time.process_time()
            app._main.refresh_data()
            spent += time.process_time() - started
            await pilot.press("j")
        assert spent / 5 < 0.2, "a third of a second, were the table made anew"
        await wait_for(app, pilot, "revision 6")
        assert app._main.table.cursor == 5

    run_dashboard(steps, size=LARGE, snapshot=shop_with_instances(1_000))


def test_no_color_removes_all_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        strips = app.screen._compositor.render_strips(app.size)
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        assert all(style.color is None or style.color.is_default for style in styles)
        assert all(style.bgcolor is None or style.bgcolor.is_default for style in styles)
        await wait_for(app, pilot, "✗ critical")

    run_dashboard(steps, snapshot=shop())


def test_every_state_has_a_badge_with_a_symbol_of_its_own() -> None:
    from tui.render.format import CHECK_BADGES, PROCESS_BADGES

    assert set(PROCESS_BADGES) == set(ProcessState)
    assert set(CHECK_BADGES) == set(CheckState)
    assert len({mark.symbol for mark in PROCESS_BADGES.values()}) == len(PROCESS_BADGES)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "textual-dark"])
def test_changing_the_theme_restyles_the_whole_screen(theme: str) -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        app.theme = theme
        await wait_idle(pilot)
        styles = Styles(app.theme_variables)
        wanted = {styles["info"].color, styles["muted"].color}
        strips = app.screen._compositor.render_strips(app.size)
        assert wanted <= {segment.style.color for segment in strips[-1] if segment.style}
        names = {
            segment.style.color for strip in strips for segment in strip if segment.style and "order" in segment.text
        }
        assert styles["name"].color in names

    run_dashboard(steps, snapshot=shop())


def test_the_reason_below_the_table_is_shown_on_a_narrow_terminal_only() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("j", "j", "j", "j")
        await wait_for(app, pilot, "worker-3: exited with 1 after 0.4s")
        await pilot.resize_terminal(*LARGE)
        await wait_idle(pilot)
        assert "worker-3: exited" not in "\n".join(line for line in screen(app).splitlines() if "worker  " not in line)
        await pilot.resize_terminal(*SMALL)
        await wait_for(app, pilot, "worker-3: exited with 1 after 0.4s")

    run_dashboard(steps, snapshot=shop())
