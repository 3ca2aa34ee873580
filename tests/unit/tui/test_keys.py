"""What fingers do in the dashboard: mark several rows, look for words in lines, fold."""

from textual.pilot import Pilot

from minikube.model import LogLine, ProcessState
from tests.unit.tui.shop import FakeFeed, instance, play, shop
from tests.unit.tui.test_dashboard import sees, settle, text
from tui.app import Dashboard
from tui.feed import Act, LogBatch
from tui.log_entry import log_entry
from tui.screens.ask import Ask


def test_marked_rows_are_acted_on_together_and_named_in_one_question() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("space", "space", "space")  # product, worker, worker-1
        await sees(app, pilot, "◉  product")
        await sees(app, pilot, "3 marked")
        await pilot.press("r")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        await sees(app, pilot, "Restart product, worker?")
        await sees(app, pilot, "needed by: gateway, order")
        await pilot.press("y")
        await settle(pilot)
        assert feed.acts == [Act("restart", "product"), Act("restart", "worker")]
        assert not app._main.marked

    play(scene, snapshot=shop())


def test_marks_leave_with_escape_and_with_their_rows() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("space")
        assert len(app._main.marked) == 1
        await pilot.press("escape")
        assert not app._main.marked
        await pilot.press("g", "space", "slash", *"order")
        await settle(pilot)
        assert not app._main.marked  # nothing is done to what is not seen

    play(scene, snapshot=shop())


def test_a_group_is_folded_and_unfolded() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        before = len(app._main.table.rows)
        await pilot.press("j", "z")
        await settle(pilot)
        assert len(app._main.table.rows) == before - 3
        await pilot.press("z")
        await settle(pilot)
        assert len(app._main.table.rows) == before

    play(scene, snapshot=shop())


def test_words_are_found_in_lines_alone_or_among_the_others() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        feed.logs(*[f"line {n}{' needle' if n % 50 == 7 else ''}" for n in range(200)])
        await settle(pilot)
        await pilot.press("slash", *"Needle", "enter")
        await sees(app, pilot, "/needle 4")
        assert "line 8" not in text(app)
        await pilot.press("g", "n")
        await sees(app, pilot, "/needle 1/4")
        await pilot.press("f")
        await sees(app, pilot, "1/4 of all lines")
        await sees(app, pilot, "line 8")
        await pilot.press("n", "n")
        await sees(app, pilot, "3/4 of all lines")
        await sees(app, pilot, "line 107 needle")
        await sees(app, pilot, "line 108")
        await pilot.press("N", "N", "N")
        await sees(app, pilot, "4/4 of all lines")
        await pilot.press("f")
        await settle(pilot)
        assert "line 108" not in text(app)

    play(scene, snapshot=shop())


def test_levels_come_from_the_line_and_notices_of_ours_stand_out() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        lines = [
            LogLine(1.0, "product", "product", "stdout", "mild", "info"),
            LogLine(1.0, "product", "product", "stdout", "0 errors", ""),
            LogLine(1.0, "product", "product", "stdout", "careful", "warning"),
            LogLine(1.0, "product", "product", "stderr", "the end", "critical"),
        ]
        feed.post(LogBatch(feed.followed[-1][0], lines))
        await pilot.press("v")
        await sees(app, pilot, "careful")
        assert "mild" not in text(app)
        assert "0 errors" not in text(app)
        await pilot.press("v")
        await sees(app, pilot, "the end")
        assert "careful" not in text(app)

    play(scene, snapshot=shop())
    assert log_entry(LogLine(1.0, "s", "s-1", "minikube", "3 lines dropped", "warning"), False).tone == "info"
    assert log_entry(LogLine(1.0, "s", "s-1", "stdout", "10%\r100%\r"), True)[1:3] == ("s-1", "100%")


def test_what_does_not_run_uses_nothing() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        row = next(line for line in text(app).splitlines() if "halted" in line)
        assert "31M" not in row

    from minikube.model import Usage

    halted = instance("halted", state=ProcessState.STOPPED, pid=0, check=None)
    snapshot = shop(halted)
    from msgspec.structs import replace

    play(scene, size=(120, 40), snapshot=replace(snapshot, usage=(Usage(halted.id, 0.0, 31 * 1024 * 1024),)))


def test_services_are_put_in_order_and_the_cursor_stays_on_its_row() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        def names() -> list[str]:
            return [row.target for row in app._main.table.rows if not row.depth]

        await settle(pilot)
        assert names() == ["product", "worker", "order", "gateway", "seed"]
        await pilot.press("o")
        await sees(app, pilot, "problems first")
        assert names() == ["worker", "product", "order", "gateway", "seed"]
        assert app._main.row is not None
        assert app._main.row.target == "product"
        await pilot.press("o")
        assert names() == ["gateway", "order", "product", "seed", "worker"]
        await pilot.press("o")
        await sees(app, pilot, "by CPU")
        assert names()[0] == "worker"
        await pilot.press("o", "o", "o")
        assert names() == ["product", "worker", "order", "gateway", "seed"]

    play(scene, size=(120, 40), snapshot=shop())


def test_what_the_mouse_selects_in_the_logs_is_copied() -> None:
    async def scene(app: Dashboard, pilot: Pilot[str], feed: FakeFeed) -> None:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        feed.logs("first line", "second line", "third line")
        await sees(app, pilot, "third line")
        logs = app._main.logs
        await pilot.mouse_down(logs, offset=(1, 0))
        await pilot.hover(logs, offset=(11, 1))
        await pilot.mouse_up(logs, offset=(11, 1))
        await sees(app, pilot, "copied")
        assert app.clipboard.split("\n")[0] == "first line"
        assert app.clipboard.split("\n")[1].strip().startswith("second lin")

    play(scene, snapshot=shop())
