"""The dashboard of the project on a terminal of its own."""

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from tests.chaos.run_context import RunContext

ROWS_AND_COLUMNS = (30, 100)
READ_BYTES = 65_536


@asynccontextmanager
async def dashboard(run: RunContext) -> AsyncIterator[tuple[trio.Process, int, list[bytes]]]:
    """Run `minikube dashboard`; yield its process, the terminal's other end, and what it has printed."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
    environment = {**run.project.environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    printed: list[bytes] = []
    try:
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "minikube", "dashboard"],
                cwd=run.project.directory,
                env=environment,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
            os.close(slave)
            nursery.start_soon(_read, master, printed)
            try:
                yield process, master, printed
            finally:
                process.kill()
                await process.wait()
                nursery.cancel_scope.cancel()
    finally:
        os.close(master)


async def _read(master: int, printed: list[bytes]) -> None:
    """Take what the dashboard prints, so that it never waits for its terminal."""
    os.set_blocking(master, False)
    with suppress(OSError):
        while True:
            await trio.lowlevel.wait_readable(master)
            printed.append(os.read(master, READ_BYTES))
