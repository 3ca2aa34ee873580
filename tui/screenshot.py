"""Write an SVG of a running project's dashboard: `python -m tui.screenshot [MANIFEST] [FILE.svg] [COLUMNSxROWS]`.

The picture in the README is made with it. It needs a running project, but no terminal.
"""

import asyncio
import sys
from pathlib import Path

from minikube.control.client.endpoint import find_supervisor
from tui.app import Dashboard
from tui.connection.trio_connection import TrioConnection

SETTLE_S = 2.5
"""Seconds between the first snapshot and the picture: usage has to be sampled once, and notifications have to disappear."""


async def take_screenshot(manifest: Path, size: tuple[int, int]) -> str:
    """Return the SVG of the dashboard at `size` (columns, rows); raise `NothingRunning` when the project does not run."""
    app = Dashboard(TrioConnection(find_supervisor(manifest)))
    async with app.run_test(size=size) as pilot:
        while app.state.snapshot is None:
            await pilot.pause(0.05)
        await pilot.pause(SETTLE_S)
        return app.export_screenshot(title="minikube up supervisor.toml")


def main(arguments: list[str]) -> None:
    """Write the screenshot that the command-line arguments ask for."""
    manifest, target, size = [*arguments, *("supervisor.toml", "dashboard.svg", "120x30")[len(arguments) :]]
    columns, _, rows = size.partition("x")
    svg = asyncio.run(take_screenshot(Path(manifest), (int(columns), int(rows))))
    Path(target).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
