"""inotify(7): changes in directories, as events of the kernel; and its limits, by the names under which they can be raised.

Here and not by a library: those that there are fail as a whole when one directory vanishes or a limit is reached, and do not
say which. An `Inotify` is for one thread at a time. It refuses to follow paths: a watch stays with its directory.
"""

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple

IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0x2000, 0x4000, 0x8000
IN_ONLYDIR = 0x1000000

ENTRY_EVENTS = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
GONE_EVENTS = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED

READ_BYTES = 65_536
_HEADER = struct.Struct("iIII")
_SYSCTL = Path("/proc/sys")


class InotifyEvent(NamedTuple):
    """An event of the directory with the watch `watch` (-1: events were lost), of its entry `name` or, without, of itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """An inotify instance. Must be closed. Raises OSError where the kernel gives none: EMFILE at its limit or this process'."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.file < 0:
            raise _error("inotify")

    def add(self, directory: Path) -> int:
        """Watch a directory and return its watch, which is the same for other paths of it. Raises OSError, ENOSPC at the limit."""
        watch = int(
            self._libc.inotify_add_watch(
                self.file, os.fsencode(directory), ENTRY_EVENTS | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
            )
        )
        if watch < 0:
            raise _error(str(directory))
        return watch

    def remove(self, watch: int) -> None:
        """End a watch. Ignores a watch that has ended."""
        self._libc.inotify_rm_watch(self.file, watch)

    def read(self) -> list[InotifyEvent]:
        """Return the events that have come; empty if there are none."""
        try:
            data = os.read(self.file, READ_BYTES)
        except BlockingIOError:
            return []
        events, at = [], 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            events.append(InotifyEvent(watch, mask, os.fsdecode(name)))
        return events

    def close(self) -> None:
        """End all watches."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class InotifyLimit(NamedTuple):
    """The lowest limit that holds here: the name for sysctl(8), and its value."""

    name: str
    value: int


def watch_limit() -> InotifyLimit | None:
    """Return how many directories a user may watch; None without inotify."""
    return _lowest("fs.inotify.max_user_watches", "user.max_inotify_watches")


def instance_limit() -> InotifyLimit | None:
    """Return how many inotify instances a user may have; None without inotify."""
    return _lowest("fs.inotify.max_user_instances", "user.max_inotify_instances")


def _lowest(*names: str) -> InotifyLimit | None:
    # Outside of a user namespace both names stand for one value; inside, the second is a limit of its own.
    found = []
    for name in names:
        try:
            found.append(InotifyLimit(name, int(_SYSCTL.joinpath(*name.split(".")).read_text())))
        except (OSError, ValueError):
            continue
    return min(found, key=lambda limit: limit.value, default=None)


def describe_start_error(error: OSError) -> str:
    """Return why `Inotify()` failed, with what to raise."""
    if error.errno != errno.EMFILE:
        return (error.strerror or str(error)).lower()
    try:
        os.close(os.dup(2))
    except OSError:
        return "no file descriptor is left — raise `ulimit -n`"
    limit = instance_limit()
    return f"{limit.name} ({limit.value}) is reached — raise it with sysctl" if limit else "too many inotify instances"


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
