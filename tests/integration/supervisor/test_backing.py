"""A part of ours that dies: who waits for it waits for its next life, which has to say itself that it listens."""

import errno
import os
import signal
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.logs.collector import LogCollector
from minikube.manifest import LogSpec
from minikube.supervisor.backing.parts import PartSpec
from minikube.supervisor.backing.runner import PartRunner
from minikube.supervisor.runtime.process.process import Command, Process, ProcessTable
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


class Slow(ProcessTable):
    """Its starts take a moment, and are told."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = trio.Event()
        self.started: list[Process] = []

    async def start(self, command: Command) -> Process:
        self.begun.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)
            self.started.append(await super().start(command))
        return self.started[-1]


async def test_what_is_just_being_started_is_stopped_as_well(tmp_path: Path) -> None:
    async def never_ready(process: Process) -> str:
        await trio.sleep_forever()
        raise AssertionError

    household, output = Slow(), LogCollector(tmp_path).open("part", "part", LogSpec())
    spec = PartSpec("part", ("sleep", "600"), dict(os.environ), tmp_path, "there")
    runner = PartRunner(spec, household, StateStore("test"), output, never_ready)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, None)
            await household.begun.wait()
            await runner.stop()
            assert [str(one.exit) for one in household.started] == ["signal TERM"]


async def test_ready_is_of_the_life_that_runs(tmp_path: Path) -> None:
    (tmp_path / "stay").touch()
    output = LogCollector(tmp_path).open("part", "part", LogSpec())

    looked: dict[int, int] = defaultdict(int)

    async def wait_ready(process: Process) -> str:
        def listens() -> bool:
            looked[process.pid] += 1
            return "listening" in output.last_lines

        await soon(listens, within=60)
        return "there"

    spec = PartSpec("part", ("sh", "-c", LIVES), dict(os.environ), tmp_path, "there")
    runner = PartRunner(spec, ProcessTable(), StateStore("test"), output, wait_ready)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, None)
            await runner.ready.wait()
            well = [*looked][-1]
            (tmp_path / "stay").unlink()
            await soon(lambda: (tmp_path / "lives").read_text() == "xxx")
            await soon(lambda: (last := [*looked][-1]) != well and looked[last] > 5)
            assert not runner.ready.is_set(), "believed what the life before had said"
            await runner.stop()


def begun(spec: PartSpec) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(spec.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def test_a_shortage_of_threads_or_descriptors_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First it cannot be adopted, then not be started; then it runs."""
    find, shortages = trio.to_thread.run_sync, [RuntimeError("can't start new thread")]

    async def refuse_once(*arguments: Any, **options: Any) -> Any:
        if shortages:
            await trio.lowlevel.checkpoint()
            raise shortages.pop()
        return await find(*arguments, **options)

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def wait_ready(process: Process) -> str:
        await trio.lowlevel.checkpoint()
        return "there"

    board, output = StateStore("test"), LogCollector(tmp_path).open("part", "part", LogSpec())
    spec = PartSpec("part", ("sleep", "600"), dict(os.environ), tmp_path, "there")
    runner = PartRunner(spec, ProcessTable(), board, output, wait_ready)
    first = begun(spec)
    with monkeypatch.context() as patched:
        patched.setattr(trio.to_thread, "run_sync", refuse_once)
        with monkeypatch.context() as scarce, trio.fail_after(60):
            scarce.setattr(os, "pidfd_open", refuse)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run, first)
                await board.wait_for(lambda _: bool(board.events_since(0)))
                scarce.undo()
                await runner.ready.wait()
                await runner.stop()
    assert first.poll() == -signal.SIGKILL
    told = [event.message for event in board.events_since(0) if event.kind == "part.down"]
    assert [("Too many open files" in text, "thread" in text) for text in told] == [(True, False), (False, True)]
