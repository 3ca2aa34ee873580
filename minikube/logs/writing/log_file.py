"""The files of one log: appended to, rotated, removed, and made again where another program took them away.

For the writing thread; readers share `origins` and file names under `rotation_lock`. The path is looked at before and after
each write (2 µs each): a file that was removed, moved or replaced is followed by a new one, and what went into a removed file
is written again. It refuses to catch errors of the disk: `instance_log` counts what they cost.
"""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from minikube.logs.file_format import FileOrigin, file_numbers, rotated, split_name, written_at
from minikube.logs.partial_line import partial_path, take_partial, write_partial
from minikube.manifest import LogSpec

ORIGINS_KEPT = 256
FILES_BY_AGE = 8
"""`max_age` is shared out among at most so many files: see `_is_old`."""

ATTEMPTS = 3
"""How often lines are written again when the file is removed at once each time."""

SET_ASIDE_ERRORS = frozenset({errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO})
"""Errors of opening a path at which something stands that is no log of ours: a link, a directory, another user's file."""


class LogFile:
    """Writes the files of one log. `on_change` is called with a text when another program changed the current file."""

    def __init__(self, path: Path, spec: LogSpec, on_change: Callable[[str], object] = lambda text: None) -> None:
        self.path = path
        self.spec = spec
        self.written = 0
        """How many lines this run wrote to the files."""
        self.write_count = 0
        """Grows with every write, so that a reader knows without a system call whether there is more."""
        self.partial_count = 0
        """Grows whenever other incomplete lines are shown."""
        self.truncations = 0
        """How often another program truncated the current file."""
        self.origins: tuple[FileOrigin, ...] = ()
        """The files that this run wrote to, newest last."""
        self.rotation_lock = threading.RLock()
        """Held while files are renamed: under it, file names and `origins` agree."""
        self._on_change = on_change
        self._file = -1
        self._identity = (0, 0)
        """Device and inode of the current file."""
        self._root = (0, 0)
        """Device and inode of the project's directory."""
        self._size = 0
        self._first_line_time = 0.0
        """When the first line of the present file was written (Unix seconds)."""

    def append(self, data: bytes) -> None:
        """Append complete lines. Raises OSError; then `written` has grown by the number of lines that are in the files."""
        if self._file < 0:
            self._open()
        for part in self._fitting(data):
            self._write(part)

    def _fitting(self, data: bytes) -> Iterator[bytes]:
        """Yield `data` in parts of complete lines that fit into the file; rotate the file between them when it is full.

        The caller must write each part before it takes the next. Only a single line may be longer than `max_size`.
        """
        start = 0
        while start < len(data):
            room = max(self.spec.max_size - self._size, 0)
            end = len(data) if len(data) - start <= room else data.rfind(b"\n", start, start + room) + 1
            if self._size and (not end or self._is_old(time.time())):
                self._rotate()
                continue
            end = end or data.find(b"\n", start) + 1 or len(data)
            yield data[start:end]
            start = end

    def _write(self, part: bytes) -> None:
        """Append complete lines, and again to a new file where the file turns out to have been removed meanwhile."""
        if change := self._find_change(self.written):
            self._reopen(change)
        for _ in range(ATTEMPTS):
            before = self.written
            self._put(part)
            change = self._find_change(before)
            if not change:
                return
            # The lines are lost with a removed file, but not with one that was moved, or that has another name.
            is_removed = not os.fstat(self._file).st_nlink
            self.written = before if is_removed else self.written
            self._reopen(change)
            if not is_removed:
                return
        self.written += part.count(b"\n")

    def _reopen(self, change: str) -> None:
        self.close()
        self._open()
        self._on_change(f"{change}: output goes on in a new file")

    def _put(self, data: bytes) -> None:
        """Append lines to the current file; begin another where the system allows no larger one (RLIMIT_FSIZE)."""
        if not self._size:
            self._first_line_time = time.time()
        counted = done = 0
        while done < len(data):
            try:
                count = os.write(self._file, data[done:] if done else data)
            except OSError as error:
                line = data.rfind(b"\n", 0, done) + 1
                self.written += data.count(b"\n", counted, line)
                counted = line
                is_alone = self._size == done - line  # another file would not take it either
                if error.errno != errno.EFBIG or is_alone:
                    raise
                self._rotate()
                done = line
                continue
            self._size += count
            done += count
        self.written += data.count(b"\n", counted)

    def _find_change(self, before: int) -> str:
        """Return what another program did to the current file; empty if nothing. `before` is `written` before the last write."""
        name = self.path.name
        try:
            status = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return "" if self._follow_project() else f"{name} was removed or moved"
        except OSError:
            return ""  # the open file can still be written
        if (status.st_dev, status.st_ino) != self._identity:
            return "" if self._follow_project() else f"{name} was replaced"
        if status.st_size < self._size:
            self._on_truncated(status.st_size, before)
        self._size = status.st_size  # another program may have appended
        return ""

    def _follow_project(self) -> bool:
        """Use the new path of the file where the whole project was moved; return whether it was.

        Nothing of the project is written at its old path, at which another one may stand.
        """
        with contextlib.suppress(OSError, IndexError):
            path = Path(os.readlink(f"/proc/self/fd/{self._file}"))
            if path.parts[-3:] == self.path.parts[-3:] and _root_identity(path) == self._root:
                self.path = path
                return True
        return False

    def _on_truncated(self, size: int, before: int) -> None:
        self._first_line_time = time.time()
        with self.rotation_lock:
            self.origins = (*self.origins[1 - ORIGINS_KEPT :], FileOrigin(self._identity[1], before, 0))
            self.truncations += 1
        self._on_change(f"{self.path.name} was truncated, it has {size:,} bytes now")

    def expire(self, now: float) -> None:
        """Rotate and remove files older than `max_age`; `now` is in Unix seconds. Errors are ignored: the next call tries again."""
        with contextlib.suppress(OSError):
            if self._file >= 0 and self._size and self._is_old(now):
                self._rotate()
        if self.spec.max_age:
            for number in file_numbers(self.path, self.spec.keep):
                if number:
                    remove_older(rotated(self.path, number), now - self.spec.max_age)

    def clear(self) -> None:
        """Remove all files of the log and begin a new one. A reader gets to the end of what it has open, then to the new file."""
        with self.rotation_lock:
            if self._file < 0:
                with contextlib.suppress(OSError):
                    self._open()  # so that readers know what is removed
            self.close()
            remove_files(self.path)
            self._open()
        self.write_count += 1

    def show_partial(self, data: bytes) -> None:
        """Show incomplete lines to readers, or none with empty `data`. Errors are ignored: the lines are kept once complete."""
        with contextlib.suppress(OSError):
            if self._file < 0:
                self._open()
            write_partial(self.path, data)
        self.partial_count += 1

    def close(self) -> None:
        """Close the current file. The next write opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _is_old(self, now: float) -> bool:
        """Return whether the file must be rotated because it spans more than its share of `max_age`."""
        share = self.spec.max_age / min(self.spec.keep + 1, FILES_BY_AGE)
        return bool(self.spec.max_age) and now - self._first_line_time > share

    def _open(self) -> None:
        with self.rotation_lock:
            try:
                self._file = self._open_path()
            except OSError as error:
                # Where nothing stands there, it is the directory that refuses.
                if error.errno not in SET_ASIDE_ERRORS or not os.path.lexists(self.path):
                    raise
                self._set_aside()
                self._file = self._open_path()
            status = os.fstat(self._file)
            self._identity = (status.st_dev, status.st_ino)
            self._size = status.st_size
            with contextlib.suppress(OSError, IndexError):
                self._root = _root_identity(self.path)
            if self._size:
                self._first_line_time = written_at(os.pread(self._file, 64, 0)) or status.st_mtime
                if os.pread(self._file, 1, self._size - 1) != b"\n":
                    self._size += os.write(self._file, b"\n")  # end the line that a full disk cut
            if not self.origins:  # the first file of this run: keep the incomplete lines that a killed supervisor left
                self._size += os.write(self._file, take_partial(self.path))
            if not self._size or not self.origins or self.origins[-1].inode != status.st_ino:
                origin = FileOrigin(status.st_ino, self.written, self._size)
                self.origins = (*self.origins[1 - ORIGINS_KEPT :], origin)

    def _open_path(self) -> int:
        # O_NONBLOCK: a FIFO in the place of the log would block the thread of all logs.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            for directory in (self.path.parent.parent, self.path.parent):  # `mkdir(parents=True)` ignores the mode
                directory.mkdir(mode=0o700, exist_ok=True)
            file = os.open(self.path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.ENXIO, "not a regular file")
        return file

    def _set_aside(self) -> None:
        """Rename what stands in the log's place: a log that may not be written is rotated, anything else gets `.replaced`."""
        if stat.S_ISREG(os.lstat(self.path).st_mode):
            self._shift()
        else:
            os.replace(self.path, self.path.with_name(self.path.name + ".replaced"))

    def _rotate(self) -> None:
        self.close()
        with self.rotation_lock:
            self._shift()
            if not self.spec.keep:
                self.path.unlink(missing_ok=True)
            self._open()

    def _shift(self) -> None:
        """Rename each file to the next higher number."""
        for number in reversed([*file_numbers(self.path, self.spec.keep - 1)]):
            with contextlib.suppress(FileNotFoundError):
                os.replace(rotated(self.path, number), rotated(self.path, number + 1))


def remove_files(path: Path) -> None:
    """Remove all files of the log `path`, whatever their numbers. Raises OSError for the first that cannot be removed."""
    instance = path.name.removesuffix(".log")
    for file in list(path.parent.iterdir()) if path.parent.exists() else ():
        found = split_name(file.name)
        if found is not None and found[0] == instance:
            file.unlink(missing_ok=True)
    partial_path(path).unlink(missing_ok=True)


def remove_older(path: Path, then: float) -> None:
    """Remove the file `path` if it was last written before `then` (Unix seconds). Ignore errors."""
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < then:
            path.unlink()


def _root_identity(path: Path) -> tuple[int, int]:
    """Return device and inode of the project's directory, in which a log is `.minikube/logs/NAME.log`."""
    status = os.stat(path.parents[2])
    return status.st_dev, status.st_ino
