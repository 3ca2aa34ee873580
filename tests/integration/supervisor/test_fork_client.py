"""Requests to a fork server that does not read them, or has ended meanwhile. Real sockets."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from minikube.supervisor.runtime.process import process_table as table_module
from minikube.supervisor.runtime.process.fork_client import ForkServer, ForkServerGone, ProcessStart, execute_server
from minikube.supervisor.runtime.process.fork_exec import Command, exec_context
from minikube.supervisor.runtime.process.process_table import ProcessTable

CONTEXT = exec_context(Command(("true",), {"BIG": "x" * 60_000}, Path("/")))


@pytest.fixture
def full() -> Iterator[tuple[ForkServer, socket.socket]]:
    """A connection whose buffer is full, and the fork server's end of it."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.suppress(BlockingIOError):
        while here.send(b"x" * 60_000, socket.MSG_DONTWAIT):
            pass
    there.setblocking(False)
    yield ForkServer(here, 0), there
    there.close()
    here.close()


async def test_requests_that_wait_together_are_sent_once_the_fork_server_reads(
    full: tuple[ForkServer, socket.socket],
) -> None:
    server, there = full
    starts: list[ProcessStart] = []

    async def request() -> None:
        starts.append(await server.request(CONTEXT, True))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(request)
            await trio.testing.wait_all_tasks_blocked()
            while len(starts) < 3:
                while _read(there):
                    pass
                await trio.lowlevel.checkpoint()
    for start in starts:
        start.close()


def _read(sock: socket.socket) -> bool:
    try:
        _, descriptors, _, _ = socket.recv_fds(sock, 100_000, 4)
    except BlockingIOError:
        return False
    for descriptor in descriptors:
        os.close(descriptor)
    return True


@pytest.mark.parametrize("by_kill", [False, True])
async def test_requests_that_wait_for_a_fork_server_that_ends_are_lost_at_once(
    full: tuple[ForkServer, socket.socket], by_kill: bool
) -> None:
    server, there = full
    lost: list[int] = []

    async def request(number: int) -> None:
        with pytest.raises(ForkServerGone):
            await server.request(CONTEXT, True)
        lost.append(number)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(request, number)
            await trio.testing.wait_all_tasks_blocked()
            if by_kill:
                server.close()
            else:
                there.close()
    assert sorted(lost) == [0, 1, 2]


async def test_starts_that_time_out_together_kill_the_fork_server_that_hangs_and_no_other(
    process_table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one that is tried again opens another fork server, which the later ones must not kill."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # nothing ever reads
    hung = ForkServer(here, 0)
    killed: list[ForkServer] = []

    def note_kill(self: ForkServer) -> None:
        killed.append(self)
        self.close()

    monkeypatch.setattr(ForkServer, "kill", note_kill)
    monkeypatch.setattr(table_module, "ANSWER_TIMEOUT_S", 0.2)
    process_table._fork_server = hung
    opened: list[ForkServer] = []

    def open_server(soft_limit: int) -> ForkServer:
        monkeypatch.setattr(table_module, "ANSWER_TIMEOUT_S", 30.0)
        opened.append(execute_server(soft_limit))
        return opened[-1]

    monkeypatch.setattr(table_module, "execute_server", open_server)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(_run, process_table, f"owner{number}")
    there.close()
    assert set(killed) == {hung}
    assert len(opened) == 1


async def _run(table: ProcessTable, owner: str) -> None:
    process = await table.start(Command(("true",), {"PATH": os.environ["PATH"]}, Path("/"), owner))
    await process.wait_exit()
    table.forget(process)
