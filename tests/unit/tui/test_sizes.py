"""The dashboard on small terminals: the most important first, all else within reach."""

import pytest
from textual.pilot import Pilot

from tests.unit.tui.fake_project import FakeConnection, run_dashboard, screen_text, shop
from tui.app import Dashboard


@pytest.mark.parametrize("size", [(10, 3), (20, 5), (40, 8), (78, 24)])
def test_the_names_of_services_are_shown_on_a_terminal_of_any_size(size: tuple[int, int]) -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await pilot.pause()
        assert "   produc" in "\n".join(screen_text(app))
        await pilot.press("l")
        await pilot.pause()
        assert "Eve" in "\n".join(screen_text(app))
        await pilot.press("escape", "r")
        await pilot.pause()
        assert "Restart" in "\n".join(screen_text(app))

    run_dashboard(steps, size=size, snapshot=shop())


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 5)])
def test_every_line_of_the_help_is_reached_by_pages(size: tuple[int, int]) -> None:
    async def steps(app: Dashboard, pilot: Pilot[str], connection: FakeConnection) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        seen = ""
        for _ in range(40):
            seen += "\n".join(screen_text(app))
            await pilot.press("space")
            await pilot.pause()
        for key in ("j k", "Ctrl-Z", "r s S K", ": Ctrl-P", "■ stopped", "◆ maintenance", "◉ marked"):
            assert key in seen
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app._main

    run_dashboard(steps, size=size, snapshot=shop())
