"""Write the data of a running Redis to disk again, after its directory was removed while it ran.

Redis goes on writing to the deleted files and has all data in memory. It cannot be told another directory (`dir` is a protected
setting), so the data is read as a replica reads it and becomes the append-only file of the next process. Writes are held back
meanwhile, so that each one that was acknowledged is in it. It refuses to restart Redis (`service`).
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import NoReturn

import trio

from minikube.project_dir import REDIS_DATA_DIR
from minikube.supervisor.backing.redis_data import MANIFEST

RESCUE_TIMEOUT_S = 60.0
"""For all data; less than `PAUSE_MS`, so that no write is accepted and then missing."""
PAUSE_MS = 70_000
"""How long writes are held back at most: until the process has ended, or the rescue has failed."""
SPARES = 3
"""Connections that are kept open for a Redis whose socket is removed, too: each attempt uses one up."""
RECEIVE_BYTES = 262_144
MARK_BYTES = 40
"""The length of the mark that ends the data."""
OLD_STYLE_FILE = "appendonly.aof"
"""What Redis 6 writes, and newer ones take over where there is nothing newer."""
DELETED = " (deleted)"
SETTINGS = (
    b"CONFIG SET repl-diskless-sync yes",  # otherwise Redis writes a file first, in the deleted directory
    b"CONFIG SET repl-diskless-sync-delay 0",
    b"CLIENT PAUSE %d WRITE" % PAUSE_MS,
    b"REPLCONF capa eof",
)


class RescueFailed(Exception):
    """The data could not be written. The text says why."""


def _has_files(data: Path) -> bool:
    """Return whether the files that Redis appends to are there."""
    try:
        lines = (data / MANIFEST).read_text("utf-8", "replace").splitlines()
    except OSError:
        return (data / OLD_STYLE_FILE).exists()
    names = [words[1] for line in lines if (words := line.split())[:1] == ["file"] and words[-1:] != ["h"]]
    return all((data / MANIFEST.parent / name).exists() for name in names)


class RedisRescue:
    """Keeps connections to a Redis process, over which its data can be read although its socket was removed."""

    def __init__(self, path: str, project_dir: Path) -> None:
        """`path` is the socket."""
        self._path = path
        self._project_dir = project_dir
        self._spares: list[trio.SocketStream] = []
        self._process_dir = ""
        """The working directory of the process, as `/proc` has it; empty if that is not the data directory."""
        # Open, so that it is known where the directory is moved: the data move with it.
        self._root = os.open(project_dir.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def move(self, path: str, project_dir: Path) -> None:
        """Use the new paths of the socket and of `.minikube`: the project was moved, with the running server."""
        self._path, self._project_dir = path, project_dir

    async def run(self) -> NoReturn:
        """Close the connections when cancelled; until then do nothing."""
        try:
            await trio.sleep_forever()
        finally:
            self._close()
            os.close(self._root)
            self._root = -1

    async def connect(self, pid: int) -> None:
        """Open the connections to a new process. Those that fail are left out."""
        self._close()
        self._process_dir = f"/proc/{pid}/cwd"
        if not self._is_in_place():
            self._process_dir = ""  # a script that starts Redis has another working directory
        with contextlib.suppress(OSError):
            for _ in range(SPARES):
                self._spares.append(await trio.open_unix_socket(self._path))

    def _close(self) -> None:
        while self._spares:
            self._spares.pop().socket.close()

    @property
    def is_possible(self) -> bool:
        """Whether a connection is left."""
        return bool(self._spares)

    def is_data_gone(self) -> bool:
        """Return whether Redis writes to files that are not in the project's data directory any more."""
        if not self._process_dir:
            return False
        try:
            path = os.readlink(self._process_dir)
        except OSError:
            return False  # it ends
        data = self._project_dir / REDIS_DATA_DIR
        if self._is_in_place():
            return not _has_files(data) and not _has_files(data)  # files may be replaced between two looks
        with contextlib.suppress(OSError):
            root = self._project_dir.parent.stat()
            return path.endswith(DELETED) or os.path.samestat(os.fstat(self._root), root)
        return False

    def is_project_away(self) -> bool:
        """Return whether the project directory is not at its path: it was moved (another may stand there now) or deleted."""
        with contextlib.suppress(OSError):
            root = self._project_dir.parent.stat()
            # One that was deleted and made again is the project's: `daemon.project_files` takes it over.
            was_deleted = os.readlink(f"/proc/self/fd/{self._root}").endswith(DELETED)
            return not (was_deleted or os.path.samestat(os.fstat(self._root), root))
        return True

    def _is_in_place(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.stat(self._process_dir), (self._project_dir / REDIS_DATA_DIR).stat())
        return False

    async def write_data(self) -> str:
        """Write all data to a new data directory; return the name of another that stood there, empty for none.

        Writes stay held back, because the process is to be restarted now. Raises `RescueFailed`; then they go on.
        """
        if not self._spares:
            raise RescueFailed("there is no connection to it any more")
        stream = self._spares.pop()
        data = self._project_dir / REDIS_DATA_DIR
        fresh = data.with_name(f"{data.name}.rescued")
        try:
            with trio.fail_after(RESCUE_TIMEOUT_S):
                _make_directory(fresh)
                await _copy_data(_Replies(stream), fresh / OLD_STYLE_FILE)
                return _put_in_place(fresh, data)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, RescueFailed) as error:
            await self._resume()
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise RescueFailed(why or "it does not send its data") from None
        finally:
            stream.socket.close()

    async def _resume(self) -> None:
        """Let writes go on; keep one connection more where the socket is still there."""
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.TooSlowError), trio.fail_after(1.0):
            with contextlib.suppress(OSError):
                self._spares.append(await trio.open_unix_socket(self._path))
            if self._spares:
                await self._spares[-1].send_all(b"CLIENT UNPAUSE\r\n")
                await self._spares[-1].receive_some(512)


class _Replies:
    """Reads replies of Redis from a connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.rest = b""

    async def more(self) -> bytes:
        """Return the next bytes of the connection. Raises `RescueFailed` at its end."""
        data = await self.stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise RescueFailed("it closed the connection")
        return bytes(data)

    async def line(self) -> bytes:
        """Return the next line, without its end. Raises `RescueFailed` at the end of the connection."""
        while b"\n" not in self.rest:
            self.rest += await self.more()
        line, _, self.rest = self.rest.partition(b"\n")
        return line.rstrip(b"\r")


async def _copy_data(replies: _Replies, path: Path) -> None:
    """Write the data to the file `path` as Redis sends it to a replica: an append-only file may begin like that.

    Raises `RescueFailed`, OSError and `trio.BrokenResourceError`.
    """
    for command in SETTINGS:
        await replies.stream.send_all(command + b"\r\n")
        reply = await replies.line()
        if reply.startswith(b"-") and not command.startswith(b"CLIENT"):  # an old Redis cannot hold writes back
            raise RescueFailed(reply[1:].decode("utf-8", "replace"))
    await replies.stream.send_all(b"SYNC\r\n")
    while not (head := await replies.line()):
        pass  # an empty line while Redis prepares the data
    if not head.startswith(b"$EOF:"):
        raise RescueFailed(head.decode("utf-8", "replace"))
    mark = head[len(b"$EOF:") :]
    async with await trio.open_file(path, "wb", opener=_open_private) as file:
        data = replies.rest
        while not data.endswith(mark):
            # Keep back what may be the beginning of the mark.
            await file.write(data[:-MARK_BYTES])
            data = data[-MARK_BYTES:] + await replies.more()
        await file.write(data[: -len(mark)])
        await file.flush()
        await trio.to_thread.run_sync(os.fsync, file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _make_directory(fresh: Path) -> None:
    fresh.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)


def _put_in_place(fresh: Path, data: Path) -> str:
    """Rename the directory `fresh` to `data`; return the name to which one that stood there was renamed, empty for none."""
    aside = ""
    if os.path.lexists(data):
        aside = f"{data.name}.replaced-{time.strftime('%Y%m%d-%H%M%S')}"
        data.rename(data.with_name(aside))
        with contextlib.suppress(OSError):
            data.with_name(aside).rmdir()
            aside = ""
    fresh.rename(data)
    return aside
