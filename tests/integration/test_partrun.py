"""A part of ours that dies: who waits for it waits for its next life, which has to say itself that it listens."""

import os
from pathlib import Path

import trio

from minikube.control.board import Board
from minikube.manifest import LogSpec
from minikube.supervisor.partrun import PartRunner
from minikube.supervisor.parts import PartSpec
from minikube.supervisor.process import Household, Process
from minikube.supervisor.reader import LogBook
from tests.eventually import soon

LIVES = """
printf x >> lives
case $(wc -c < lives) in
1) sleep 0.1; exit 1 ;;
2) echo listening; while [ -e stay ]; do sleep 0.01; done; exit 1 ;;
*) exec sleep 600 ;;
esac
"""
"""The first life dies before it listens, the second does listen, the third does not."""


async def test_ready_is_of_the_life_that_runs(tmp_path: Path) -> None:
    (tmp_path / "stay").touch()
    output = LogBook(tmp_path).open("part", "part", LogSpec())

    async def wait_ready(process: Process) -> str:
        await soon(lambda: "listening" in output.last_lines, within=60)
        return "there"

    spec = PartSpec("part", ("sh", "-c", LIVES), dict(os.environ), tmp_path, "there")
    runner = PartRunner(spec, Household(), Board("test"), output, wait_ready)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, None)
            await runner.ready.wait()
            (tmp_path / "stay").unlink()
            await soon(lambda: (tmp_path / "lives").read_text() == "xxx")
            await soon(lambda: not runner.ready.is_set())
            with trio.move_on_after(0.2) as waited:
                await runner.ready.wait()
            assert waited.cancelled_caught, "believed what the life before had said"
            await runner.stop()
