"""Commands for a real process table, and the end of their processes and of its fork servers."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import trio

from minikube.linux import processes
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import soon

NUMBERS = itertools.count()


def command(*argv: str, cwd: Path = Path("/"), owner: str = "", **fields: Any) -> Command:
    owner = owner or f"owner{next(NUMBERS)}"
    return Command(argv, {"PATH": os.environ["PATH"], "INSTANCE_ID": owner}, cwd, owner, **fields)


async def end(table: ProcessTable, *started: Process) -> None:
    for process in started:
        process.send_signal(signal.SIGKILL)
        with trio.fail_after(30):
            await process.wait_exit()
        table.forget(process)


def fork_servers(table: ProcessTable) -> list[int]:
    """Return the pids of the fork server and its standby."""
    group = table._open_fork_server()._group
    found = []
    for one in processes.scan_processes():
        if one.is_alive and one.session == group:
            found.append(one.pid)
    return found


async def kill_fork_servers(table: ProcessTable) -> None:
    group = table._open_fork_server()._group
    os.killpg(group, signal.SIGKILL)
    await soon(lambda: not fork_servers(table), what="the end of the fork servers")
