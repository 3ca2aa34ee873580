"""A door before Docker's engine: a socket relayed by a process of its own, which can be paused or ended like an engine.

The engine itself is shared with other tests and goes on meanwhile.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from tests.eventually import eventually

ENGINE = "unix:///var/run/docker.sock"


class Door:
    """`with Door(tmp_path) as door`: `door.host` is what DOCKER_HOST names."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "door.sock"
        self.host = f"unix://{self.socket}"
        self._target = os.environ.get("DOCKER_HOST", ENGINE).removeprefix("unix://")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """As an engine that has been started."""
        self._process = subprocess.Popen([sys.executable, "-m", "tests.e2e.door", str(self.socket), self._target])
        eventually(self.socket.exists, what="the door")

    def close(self) -> None:
        """As an engine that was stopped: nobody listens."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    @contextmanager
    def hangs(self) -> Iterator[None]:
        """As an engine that is paused: it takes connections and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


async def _serve(here: str, there: str) -> None:
    """Passes on what comes, in both directions, each to its own end."""

    async def meet(caller: trio.SocketStream) -> None:
        async with caller, await trio.open_unix_socket(there) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, caller, engine)
            nursery.start_soon(_pass_on, engine, caller)

    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(f"{here}.new")
    listener.listen(64)
    await trio.Path(f"{here}.new").rename(here)
    await trio.serve_listeners(meet, [trio.SocketListener(listener)])


async def _pass_on(one: trio.SocketStream, other: trio.SocketStream) -> None:
    try:
        async for data in one:
            await other.send_all(data)
        await other.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(other)


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1], sys.argv[2])
