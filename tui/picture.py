"""A picture of the dashboard as it stands (floor 4): `python -m tui.picture [MANIFEST] [FILE.svg] [COLUMNSxROWS]`.

Opens the dashboard of the running project without a terminal, waits until it shows services, and writes an SVG.
"""

import asyncio
import sys
from pathlib import Path

from minikube.control.client.endpoint import find_supervisor
from tui.app import Dashboard
from tui.stream import StreamFeed

SETTLE_S = 2.5
"""For usage to be sampled once, and for toasts to go."""


async def draw(manifest: Path, size: tuple[int, int]) -> str:
    """The picture. Raises `NothingRunning` when there is nothing to show."""
    app = Dashboard(StreamFeed(find_supervisor(manifest)))
    async with app.run_test(size=size) as pilot:
        while app.snapshot is None:
            await pilot.pause(0.05)
        await pilot.pause(SETTLE_S)
        return app.export_screenshot(title="minikube up supervisor.toml")


def main(arguments: list[str]) -> None:
    manifest, target, size = [*arguments, *("supervisor.toml", "dashboard.svg", "120x30")[len(arguments) :]]
    columns, _, rows = size.partition("x")
    Path(target).write_text(asyncio.run(draw(Path(manifest), (int(columns), int(rows)))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
