"""A proxy in front of Docker's engine: a process that forwards a socket, and can be paused or killed like an engine.

The engine itself is shared with other tests and keeps running.
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


class EngineProxy:
    """`with EngineProxy(tmp_path) as proxy`: `proxy.host` is the value of DOCKER_HOST."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "proxy.sock"
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
        """Start the proxy: the engine can be reached."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.engine_proxy", str(self.socket), self._target]
        )
        eventually(self.socket.exists, what="the proxy")

    def close(self) -> None:
        """Kill the proxy: as with a stopped engine, no process listens."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    @contextmanager
    def hangs(self) -> Iterator[None]:
        """Pause the proxy: as with an engine that hangs, connections are accepted and never answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


async def _serve(path: str, target: str) -> None:
    """Forward connections of one socket to another, in both directions, each to its end."""

    async def forward(client: trio.SocketStream) -> None:
        async with client, await trio.open_unix_socket(target) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, engine)
            nursery.start_soon(_copy, engine, client)

    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(f"{path}.new")
    listener.listen(64)
    await trio.Path(f"{path}.new").rename(path)
    await trio.serve_listeners(forward, [trio.SocketListener(listener)])


async def _copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(sink)


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1], sys.argv[2])
