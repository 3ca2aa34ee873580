"""Keys and the mouse in the dashboard: marks, search, folding, levels, sorting, copying."""

import pytest
from msgspec import structs
from textual import events
from textual.pilot import Pilot

from minikube.model import InstanceView, LogLine, ProcessState, Snapshot
from tests.unit.tui.fake_project import FakeConnection, instance, run_dashboard, shop
from tests.unit.tui.test_dashboard import screen, wait_for, wait_idle
from tui.app import Dashboard
from tui.connection.interface import Command
from tui.connection.messages import LogLinesReceived, SnapshotReceived
from tui.render.columns import RenderContext, render_cell
from tui.render.log_entry import log_entry
from tui.render.rows import build_rows
from tui.screens.confirm import ConfirmScreen
from tui.screens.help import HelpScreen
from tui.screens.palette import Palette


def test_one_question_and_one_command_each_for_all_marked_rows() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("space", "space", "space")  # product, worker, worker-1
        await wait_for(app, pilot, "◉  product")
        await wait_for(app, pilot, "3 marked")
        await pilot.press("r")
        await wait_idle(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        await wait_for(app, pilot, "Restart product, worker?")
        await wait_for(app, pilot, "needed by: gateway, order")
        await pilot.press("y")
        await wait_idle(pilot)
        assert connection.commands == [Command("restart", "product"), Command("restart", "worker")]
        assert not app._main.marked

    run_dashboard(steps, snapshot=shop())


def test_escape_and_a_filter_that_hides_the_row_remove_marks() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("space")
        assert len(app._main.marked) == 1
        await pilot.press("escape")
        assert not app._main.marked
        await pilot.press("g", "space", "slash", *"order")
        await wait_idle(pilot)
        assert not app._main.marked  # a command must not affect a hidden row

    run_dashboard(steps, snapshot=shop())


def test_z_folds_and_unfolds_the_instances_of_a_service() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        before = len(app._main.table.rows)
        await pilot.press("j", "z")
        await wait_idle(pilot)
        assert len(app._main.table.rows) == before - 3
        await pilot.press("z")
        await wait_idle(pilot)
        assert len(app._main.table.rows) == before

    run_dashboard(steps, snapshot=shop())


def test_search_shows_only_matches_or_marks_them_among_all_lines() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        connection.send_logs(*[f"line {n}{' needle' if n % 50 == 7 else ''}" for n in range(200)])
        await wait_idle(pilot)
        await pilot.press("slash", *"Needle", "enter")
        await wait_for(app, pilot, "/needle 4")
        assert "line 8" not in screen(app)
        await pilot.press("g", "n")
        await wait_for(app, pilot, "/needle 1/4")
        await pilot.press("f")
        await wait_for(app, pilot, "1/4 of all lines")
        await wait_for(app, pilot, "line 8")
        await pilot.press("n", "n")
        await wait_for(app, pilot, "3/4 of all lines")
        await wait_for(app, pilot, "line 107 needle")
        await wait_for(app, pilot, "line 108")
        await pilot.press("N", "N", "N")
        await wait_for(app, pilot, "4/4 of all lines")
        await pilot.press("f")
        await wait_idle(pilot)
        assert "line 108" not in screen(app)

    run_dashboard(steps, snapshot=shop())


def test_v_hides_lines_below_a_level_and_lines_of_the_supervisor_have_their_own_style() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        lines = [
            LogLine(1.0, "product", "product", "stdout", "mild", "info"),
            LogLine(1.0, "product", "product", "stdout", "0 errors", ""),
            LogLine(1.0, "product", "product", "stdout", "careful", "warning"),
            LogLine(1.0, "product", "product", "stderr", "the end", "critical"),
        ]
        connection.post(LogLinesReceived(connection.followed[-1][0], lines))
        await pilot.press("v")
        await wait_for(app, pilot, "careful")
        assert "mild" not in screen(app)
        assert "0 errors" not in screen(app)
        await pilot.press("v")
        await wait_for(app, pilot, "the end")
        assert "careful" not in screen(app)

    run_dashboard(steps, snapshot=shop())
    assert log_entry(LogLine(1.0, "s", "s-1", "minikube", "3 lines dropped", "warning"), False).style == "info"
    assert log_entry(LogLine(1.0, "s", "s-1", "stdout", "10%\r100%\r"), True)[1:3] == ("s-1", "100%")


def test_a_stopped_instance_shows_no_usage() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        row = next(line for line in screen(app).splitlines() if "halted" in line)
        assert "31M" not in row

    from minikube.model import Usage

    halted = instance("halted", state=ProcessState.STOPPED, pid=0, check=None)
    snapshot = shop(halted)
    from msgspec.structs import replace

    run_dashboard(steps, size=(120, 40), snapshot=replace(snapshot, usage=(Usage(halted.id, 0.0, 31 * 1024 * 1024),)))


def test_o_sorts_services_and_the_cursor_stays_on_its_row() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        def names() -> list[str]:
            return [row.target for row in app._main.table.rows if not row.depth]

        await wait_idle(pilot)
        assert names() == ["product", "worker", "order", "gateway", "seed"]
        await pilot.press("o")
        await wait_for(app, pilot, "problems first")
        assert names() == ["worker", "product", "order", "gateway", "seed"]
        assert app._main.row is not None
        assert app._main.row.target == "product"
        await pilot.press("o")
        assert names() == ["gateway", "order", "product", "seed", "worker"]
        await pilot.press("o")
        await wait_for(app, pilot, "by CPU")
        assert names()[0] == "worker"
        await pilot.press("o", "o", "o")
        assert names() == ["product", "worker", "order", "gateway", "seed"]

    run_dashboard(steps, size=(120, 40), snapshot=shop())


def test_text_selected_with_the_mouse_in_the_logs_is_copied() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        await pilot.press("l")
        await wait_idle(pilot)
        connection.send_logs("first line", "second line", "third line")
        await wait_for(app, pilot, "third line")
        logs = app._main.logs
        await pilot.mouse_down(logs, offset=(1, 0))
        await pilot.hover(logs, offset=(11, 1))
        await pilot.mouse_up(logs, offset=(11, 1))
        await wait_for(app, pilot, "copied")
        assert app.clipboard.split("\n")[0] == "first line"
        assert app.clipboard.split("\n")[1].strip().startswith("second lin")

    run_dashboard(steps, snapshot=shop())


@pytest.mark.parametrize("above", [False, True])
def test_keys_typed_together_on_a_question_close_it_once(above: bool) -> None:
    """Also where another screen has come above the question meanwhile: only that one closes itself."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await pilot.press("r")
        await wait_idle(pilot)
        question = app.screen
        assert isinstance(question, ConfirmScreen)
        if above:
            app.push_screen(HelpScreen())
            await wait_idle(pilot)
        for _ in range(3):  # all reach the question before it is closed
            question.post_message(events.Key("y", "y"))
        await wait_idle(pilot)
        question.action_cancel()
        await wait_idle(pilot)
        assert isinstance(app.screen, HelpScreen) if above else app.screen is app._main
        assert len(connection.commands) == (0 if above else 1)

    run_dashboard(steps, snapshot=shop())


def test_the_palette_moves_by_pages_on_a_terminal_of_three_lines() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await pilot.press("ctrl+p")
        await pilot.pause(0.1)
        palette: object = app.screen
        assert isinstance(palette, Palette)
        await pilot.press("pageup", "pagedown", "pagedown", "pageup", "ctrl+p", "escape", "escape")
        await pilot.pause()
        assert app.screen is app._main

    run_dashboard(steps, size=(10, 3), snapshot=shop())


def test_the_palette_and_the_filter_know_groups() -> None:
    """A command for a group asks once, and is sent for each of its services."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await wait_idle(pilot)
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        assert commands["Stop @shop"].help == "product, order"
        commands["Stop @shop"].callback()
        await wait_for(app, pilot, "Stop product, order?")
        await pilot.press("y")
        await wait_idle(pilot)
        assert connection.commands == [Command("stop", "product"), Command("stop", "order")]
        await pilot.press("slash", *"@shop", "enter")
        await wait_idle(pilot)
        assert {row.service.name for row in app._main.table.rows} == {"product", "order"}

    services = tuple(
        structs.replace(service, groups=("shop",) if service.name in ("product", "order") else ())
        for service in shop().services
    )
    run_dashboard(steps, snapshot=structs.replace(shop(), services=services))


def test_an_error_that_no_code_handles_is_kept_with_its_traceback() -> None:
    """And the values of variables, such as the token, are not in it."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        raise_later = {"token": "s3cret"}
        app.call_later(lambda: raise_later["missing"])
        await pilot.pause()
        assert app.failure is not None
        reason, report = app.failure
        assert reason == "KeyError: 'missing'"
        assert "Traceback" in report
        assert "s3cret" not in report

    with pytest.raises(KeyError):
        run_dashboard(steps, snapshot=shop())


def blinking(state: ProcessState, *more: InstanceView, revision: int) -> Snapshot:
    """The shop with a crash loop in this state, and more instances."""
    crash = instance("blink", "seed", state=state, pid=0 if state == ProcessState.BACKOFF else 7, restarts=revision)
    return shop(crash, *more, revision=revision)


def test_the_cursor_stays_on_its_service_while_that_is_a_problem_and_none_in_turn() -> None:
    """In the list of problems a command hits the service that the user has selected, and no other in its place."""

    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await pilot.press("ctrl+z")
        await wait_idle(pilot)
        app._main.table.select("s:seed")
        for number in range(2, 6):
            state = ProcessState.RUNNING if number % 2 else ProcessState.BACKOFF
            connection.post(SnapshotReceived(blinking(state, revision=number)))
            await wait_idle(pilot)
            assert app._main.row is not None
            assert app._main.row.key == "s:seed"
        await pilot.press("S")
        await wait_idle(pilot)
        assert connection.commands == [Command("start", "seed")]
        await pilot.press("g")
        await wait_idle(pilot)
        connection.post(SnapshotReceived(blinking(ProcessState.RUNNING, revision=7)))
        await wait_idle(pilot)
        assert not app._main.table.select("s:seed")  # it is no problem, and not selected

    run_dashboard(steps, snapshot=blinking(ProcessState.BACKOFF, revision=1))


def test_no_other_row_is_selected_in_place_of_one_that_does_not_exist_any_more() -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        app._main.table.select("s:gone")
        connection.post(SnapshotReceived(shop(revision=2)))
        await wait_idle(pilot)
        assert app._main.row is None
        await pilot.press("S", "r", "space", "c", "enter", "escape", "escape")
        await wait_idle(pilot)
        assert connection.commands == []
        assert app.screen is app._main
        connection.post(SnapshotReceived(shop(instance("gone"), revision=3)))
        await wait_idle(pilot)
        assert app._main.row is not None
        assert app._main.row.key == "s:gone"
        connection.post(SnapshotReceived(shop(revision=4)))
        await wait_idle(pilot)
        await pilot.press("j")
        await wait_idle(pilot)
        assert app._main.row is not None

    run_dashboard(steps, snapshot=shop(instance("gone")))


def test_restarts_are_counted_once() -> None:
    """A failed start that was tried again is a restart already."""
    view = instance("loop", state=ProcessState.BACKOFF, pid=0, restarts=3, failed_starts=3)
    [row] = [row for row in build_rows(shop(view)) if row.key == "s:loop"]
    assert render_cell("restarts", row, RenderContext()).text == "3"
