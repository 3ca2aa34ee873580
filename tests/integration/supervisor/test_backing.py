"""A backing service that dies is started again, and is ready only when its new process answers. Real processes."""

import errno
import os
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from msgspec import structs

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.linux import processes
from minikube.logs.collector import LogCollector
from minikube.manifest import LogSpec
from minikube.supervisor.backing.program import BackingProgram
from minikube.supervisor.backing.service import BackingService
from minikube.supervisor.backing.spec import BackingSpec, backing_command, begin_process
from minikube.supervisor.runtime.process.fork_client import execute_server
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import soon

SCRIPT = """
printf x >> starts
case $(wc -c < starts) in
1) sleep 0.1; exit 1 ;;
2) echo listening; while [ -e stay ]; do sleep 0.01; done; exit 1 ;;
*) exec sleep 600 ;;
esac
"""
"""The first process dies before it listens, the second listens, the third does not."""


class SlowTable(ProcessTable):
    """A process table whose starts take 0.1 s."""

    def __init__(self) -> None:
        super().__init__()
        self.starting = trio.Event()
        self.started: list[Process] = []

    async def start(self, command: Command) -> Process:
        self.starting.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)
            self.started.append(await super().start(command))
        return self.started[-1]


class Program(BackingProgram):
    """A program whose processes are ready when a function of the test says so."""

    def __init__(self, ready: Callable[[Process], Awaitable[str]]) -> None:
        self._ready = ready

    async def wait_ready(self, process: Process) -> str:
        return await self._ready(process)


async def test_a_process_that_is_being_started_is_stopped_too(tmp_path: Path, subreaper: None) -> None:
    async def never_ready(process: Process) -> str:
        await trio.sleep_forever()
        raise AssertionError

    process_table, log = SlowTable(), LogCollector(tmp_path).open("redis", "redis", LogSpec())
    spec = BackingSpec("redis", ("sleep", "600"), dict(os.environ), tmp_path, "there")
    service = BackingService(spec, process_table, StateStore("test"), log, Program(never_ready))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process_table.reap_children)
            nursery.start_soon(service.run, None)
            await process_table.starting.wait()
            await service.stop()
            assert [str(one.exit) for one in process_table.started] == ["signal TERM"]
            nursery.cancel_scope.cancel()
    process_table.close()


@pytest.mark.parametrize("moment", ["is being started", "is not ready"])
async def test_a_process_of_an_outdated_spec_is_replaced_before_it_is_ready(
    tmp_path: Path, subreaper: None, moment: str
) -> None:
    """A registry that had the path of Redis from before a move of the project would never reach it."""
    ready: list[Process] = []

    async def never_ready(process: Process) -> str:
        ready.append(process)
        await trio.sleep_forever()
        raise AssertionError

    process_table, store = SlowTable(), StateStore("test")
    log = LogCollector(tmp_path).open("registry", "registry", LogSpec())
    spec = BackingSpec("registry", ("sleep", "600"), dict(os.environ), tmp_path, "there")
    service = BackingService(spec, process_table, store, log, Program(never_ready))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process_table.reap_children)
            nursery.start_soon(service.run, None)
            await process_table.starting.wait()
            if moment == "is not ready":
                await soon(lambda: ready)
            service.spec = structs.replace(spec, env={**spec.env, "STORE": "new"})
            service.restart("is to use another path")
            await soon(lambda: len(process_table.started) == 2 and ready and ready[-1] is process_table.started[1])
            assert str(process_table.started[0].exit) == "signal KILL"
            assert processes.environment(ready[-1].pid)["STORE"] == "new"
            assert downs(store, "registry") == ["registry is to use another path — starting it again"]
            await service.stop()
            nursery.cancel_scope.cancel()
    process_table.close()


async def test_ready_belongs_to_the_process_that_runs(tmp_path: Path, process_table: ProcessTable) -> None:
    (tmp_path / "stay").touch()
    log = LogCollector(tmp_path).open("redis", "redis", LogSpec())

    looked: dict[int, int] = defaultdict(int)

    async def wait_ready(process: Process) -> str:
        def listens() -> bool:
            looked[process.pid] += 1
            return "listening" in log.last_lines

        await soon(listens, within=60)
        return "there"

    spec = BackingSpec("redis", ("sh", "-c", SCRIPT), dict(os.environ), tmp_path, "there")
    service = BackingService(spec, process_table, StateStore("test"), log, Program(wait_ready))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run, None)
            await service.ready.wait()
            ready_pid = [*looked][-1]
            (tmp_path / "stay").unlink()
            await soon(lambda: (tmp_path / "starts").read_text() == "xxx")
            await soon(lambda: (last := [*looked][-1]) != ready_pid and looked[last] > 5)
            assert not service.ready.is_set(), "took a line of the process before for one of this process"
            await service.stop()


async def test_a_start_is_retried_after_a_shortage_of_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_table: ProcessTable
) -> None:
    """The first process is killed, the second cannot be started; the third runs."""

    def refuse(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def wait_ready(process: Process) -> str:
        await trio.lowlevel.checkpoint()
        return "there"

    store, log = StateStore("test"), LogCollector(tmp_path).open("redis", "redis", LogSpec())
    spec = BackingSpec("redis", ("sleep", "600"), dict(os.environ), tmp_path, "there")
    service = BackingService(spec, process_table, store, log, Program(wait_ready))
    with monkeypatch.context() as scarce, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            first = await process_table.start(backing_command(spec))
            scarce.setattr(os, "pipe2", refuse)
            nursery.start_soon(service.run, first)
            await service.ready.wait()
            first.send_signal(signal.SIGKILL)
            await store.wait_for(lambda _: len(downs(store)) == 2)
            scarce.undo()
            await service.ready.wait()
            await service.stop()
            nursery.cancel_scope.cancel()
    assert downs(store)[0] == "redis ended: signal KILL — starting it again"
    assert "Too many open files" in downs(store)[1]


async def test_a_first_process_that_has_died_before_the_service_runs_is_started_again(
    tmp_path: Path, subreaper: None
) -> None:
    """The registry is requested before trio runs, and its service runs only when Redis answers, which may take seconds."""

    async def wait_ready(process: Process) -> str:
        await trio.lowlevel.checkpoint()
        return "there"

    store, log = StateStore("test"), LogCollector(tmp_path).open("registry", "registry", LogSpec())
    (tmp_path / "once").touch()
    script = "rm once && exit 3; exec sleep 600"
    spec = BackingSpec("registry", ("sh", "-c", script), dict(os.environ), tmp_path, "there")
    server = execute_server(1024)
    start = begin_process(spec, server)
    start.wait()
    await soon(lambda: (stat := processes.read_stat(start.pid)) is not None and stat.state == "Z")
    table = ProcessTable(None, server)
    first = await table.adopt(start, backing_command(spec))
    service = BackingService(spec, table, store, log, Program(wait_ready))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(table.reap_children)
            await first.exited.wait()
            nursery.start_soon(service.run, first)
            await service.ready.wait()
            await soon(lambda: store.snapshot.parts[0].restarts == 1)
            await service.stop()
            nursery.cancel_scope.cancel()
    table.close()
    assert [event.message for event in store.events_since(0) if event.kind == "registry.down"] == [
        "registry ended: exit 3 — starting it again"
    ]


async def test_a_first_process_whose_program_is_missing_is_an_error_that_names_it(
    tmp_path: Path, subreaper: None
) -> None:
    server = execute_server(1024)
    table = ProcessTable(None, server)
    spec = BackingSpec("redis", ("/no/such/redis",), {}, tmp_path, "there")
    with pytest.raises(StartError, match="command not found: /no/such/redis"):
        await table.adopt(begin_process(spec, server), backing_command(spec))
    table.close()


def downs(store: StateStore, name: str = "redis") -> list[str]:
    return [event.message for event in store.events_since(0) if event.kind == f"{name}.down"]
