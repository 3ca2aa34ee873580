"""Starts of processes while the fork server is killed or hangs: none is lost or made twice. Real processes."""

import os
import signal
from collections.abc import Awaitable
from pathlib import Path

import pytest
import trio

from minikube.errors import ResourceExhausted
from minikube.linux import processes
from minikube.linux.exec_context import ExecContext
from minikube.supervisor.runtime.process import fork_client
from minikube.supervisor.runtime.process import process_table as table_module
from minikube.supervisor.runtime.process.fork_client import ForkServer, ForkServerGone, ProcessStart
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import soon
from tests.integration.supervisor.commands import command, end, fork_servers, kill_fork_servers


async def test_a_start_succeeds_after_the_fork_server_was_killed(process_table: ProcessTable) -> None:
    """First the one that serves, whose standby goes on; then both. What was started lives on."""
    started = [await process_table.start(command("sleep", "600"))]
    group = process_table._open_fork_server()._group
    await soon(lambda: kill_serving(process_table))
    started.append(await process_table.start(command("sleep", "600")))
    assert process_table._open_fork_server()._group == group
    await kill_fork_servers(process_table)
    started.append(await process_table.start(command("sleep", "600")))
    assert process_table._open_fork_server()._group != group
    assert [process.exit for process in started] == [None, None, None]
    assert len({process.pid for process in started}) == 3
    await end(process_table, *started)


def kill_serving(table: ProcessTable) -> bool:
    """Kill the fork server that serves, whose child is the standby; return whether there are both."""
    parents = {pid: stat.parent for pid in fork_servers(table) if (stat := processes.read_stat(pid)) is not None}
    serving = [parent for parent in parents.values() if parent in parents]
    for pid in serving:
        os.kill(pid, signal.SIGKILL)
    return bool(serving)


async def test_fork_servers_that_are_killed_again_and_again_lose_and_double_no_start(
    process_table: ProcessTable,
) -> None:
    started: list[Process] = []
    finished = trio.Event()

    async def start(number: int) -> None:
        env = {"PATH": os.environ["PATH"], "INSTANCE_ID": f"i{number}"}
        wanted = Command(("sleep", f"7{os.getpid()}"), env, Path("/"), f"i{number}")
        while True:
            try:
                started.append(await process_table.start(wanted))
                return
            except ResourceExhausted:
                await trio.sleep(0.01)

    async def kill_often() -> None:
        for _ in range(6):
            if found := fork_servers(process_table):
                processes.kill_all(found[:1])
            await trio.sleep(0.02)
        finished.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_often)
            for number in range(20):
                nursery.start_soon(start, number)
    alive = [one.pid for one in processes.scan_processes() if one.is_alive and _is_marked(one.pid)]
    assert sorted(alive) == sorted(process.pid for process in started)
    await end(process_table, *started)


def _is_marked(pid: int) -> bool:
    try:
        return f"7{os.getpid()}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


async def test_a_process_that_a_killed_fork_server_did_not_tell_of_is_killed_before_the_next_try(
    process_table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    untold: list[int] = []
    request = ForkServer.request

    async def request_untold(self: ForkServer, context: ExecContext, may_use_reserve: bool) -> ProcessStart:
        start = await request(self, context, may_use_reserve)
        if untold:
            return start
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(start.status)
        start.wait()
        untold.append(start.pid)
        await soon(lambda: start.pid in processes.adopted_children(os.getpid()))
        start.close()
        raise ForkServerGone

    monkeypatch.setattr(ForkServer, "request", request_untold)
    process = await process_table.start(command("sleep", "600"))
    assert process.pid not in untold
    assert processes.read_stat(untold[0]) is None
    await end(process_table, process)


async def test_a_fork_server_that_hangs_is_replaced(
    process_table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await process_table.start(command("sleep", "600"))
    await soon(lambda: len(fork_servers(process_table)) == 2)
    hung = fork_servers(process_table)
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    for module in (fork_client, table_module):
        monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.7)
    isolated: list[bool] = []
    request = ForkServer.request

    def spy(self: ForkServer, context: ExecContext, may_use_reserve: bool) -> Awaitable[ProcessStart]:
        isolated.append(context.is_isolated)
        return request(self, context, may_use_reserve)

    monkeypatch.setattr(ForkServer, "request", spy)
    while True:
        try:
            second = await process_table.start(command("sleep", "600"))
            break
        except ResourceExhausted:  # the new one takes longer than that on a busy machine
            await trio.sleep(0.1)
    assert isolated[:2] == [False, True], "the directory or program it hangs at must not stop other starts"
    assert first.exit is None
    await soon(lambda: not any(stat.is_alive for pid in hung if (stat := processes.read_stat(pid))))
    await end(process_table, first, second)
