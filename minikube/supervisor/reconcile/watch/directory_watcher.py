"""Watches directories for changes: by inotify, and where that is not possible by looking at them every second.

Each directory stands for itself: one that vanishes, may not be read or is beyond the kernel's limits costs the others nothing.
Symbolic links, and the directories that patterns begin with, are looked at every second too: inotify follows neither a link
to another target nor a path to another directory. It refuses to filter paths: `watcher` does.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import trio
from msgspec import Struct

from minikube.linux.inotify import (
    GONE_EVENTS,
    IN_Q_OVERFLOW,
    Inotify,
    InotifyEvent,
    describe_start_error,
    watch_limit,
)

POLL_S = 1.0
POLL_SHARE = 0.05
"""The most of a processor that looking at directories takes: it is done less often where it takes long."""

SCAN_FROM = 32
"""From so many changed paths in a directory on, it is listed instead of asking for each path."""

Signature = tuple[int, ...]
"""Device, inode, time of the last change and size of what a path leads to; empty where there is nothing."""

OnChange = Callable[[frozenset[Path], bool], object]


class WatchedPaths(NamedTuple):
    """What to watch: directories, without their subdirectories; and single paths, which need not exist."""

    directories: frozenset[Path] = frozenset()
    links: frozenset[Path] = frozenset()
    """Symbolic links to files or directories."""
    roots: frozenset[Path] = frozenset()
    """Paths at which a directory may appear, vanish, or become another one."""


class _Directory(Struct):
    """A directory that is watched. `watch` is -1 where it is looked at instead: then `entries` are those of the last look."""

    identity: tuple[int, int]
    watch: int = -1
    entries: dict[str, Signature] = {}


class DirectoryWatcher:
    """Watches directories until its `run` is cancelled. Belongs to the trio thread.

    `on_change` is called with paths that were created, changed or removed, and whether directories to watch may have come or
    gone. `report` is called with a text when directories cannot be watched by inotify, and why.
    """

    def __init__(self, on_change: OnChange, report: Callable[[str], object]) -> None:
        self._on_change = on_change
        self._report = report
        self._reported = ""
        self._inotify: Inotify | None = None
        self._directories: dict[Path, _Directory] = {}
        self._by_watch: dict[int, set[Path]] = {}
        self._paths = WatchedPaths()
        self._single: dict[Path, Signature] = {}
        """Links and roots, as they were at the last look."""
        self._lock = trio.Lock()
        """Held while a thread changes or looks at what is watched: events are assigned to directories before or after."""
        self._opened = trio.Event()

    async def run(self) -> None:
        """Report changes until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._poll)
                await self._read_events()
        finally:
            if self._inotify is not None:
                self._inotify.close()

    async def update(self, paths: WatchedPaths) -> frozenset[Path]:
        """Watch these paths instead of those before; return the directories that were not watched yet."""
        async with self._lock:
            added, problem = await trio.to_thread.run_sync(self._update, paths)
        if self._inotify is not None:
            self._opened.set()
        if problem != self._reported:
            self._reported = problem
            if problem:
                self._report(problem)
        return added

    # ------------------------------------------------------------ in a thread

    def _update(self, paths: WatchedPaths) -> tuple[frozenset[Path], str]:
        problem = self._open_inotify() if paths.directories else ""
        added, refused = set(), {}
        for path in [*self._directories]:
            if path not in paths.directories or _identity(path) != self._directories[path].identity:
                self._drop(path)
        for path in sorted(paths.directories):
            known = self._directories.get(path)
            if known is not None and known.watch >= 0:
                continue
            if known is None:
                identity = _identity(path)
                if identity is None:
                    continue  # it has been removed: its root tells when it is there again
                known = self._directories[path] = _Directory(identity)
                added.add(path)
            if error := self._watch(path, known):
                refused[path] = error
                known.entries = known.entries or _entries(path)
        for path in (*paths.links, *paths.roots):
            self._single.setdefault(path, _signature(path, path in paths.roots))
        self._single = {path: self._single[path] for path in (*paths.links, *paths.roots)}
        self._paths = paths
        return frozenset(added), problem or _describe(refused)

    def _open_inotify(self) -> str:
        if self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError as error:
                return f"files are looked at every second instead of being watched: {describe_start_error(error)}"
        return ""

    def _watch(self, path: Path, directory: _Directory) -> OSError | None:
        """Watch a directory by inotify; return the error if that is not possible, None also without inotify."""
        if self._inotify is None:
            directory.entries = directory.entries or _entries(path)
            return None
        try:
            directory.watch = self._inotify.add(path)
        except OSError as error:
            return error
        directory.entries = {}
        self._by_watch.setdefault(directory.watch, set()).add(path)
        return None

    def _drop(self, path: Path) -> None:
        directory = self._directories.pop(path)
        paths = self._by_watch.get(directory.watch, set())
        paths.discard(path)
        if not paths and self._by_watch.pop(directory.watch, None) is not None and self._inotify is not None:
            self._inotify.remove(directory.watch)

    def _look(self) -> tuple[frozenset[Path], bool]:
        """Return what has changed since the last look at links, roots and directories without a watch, as for `on_change`."""
        changed, moved = set(), False
        for path, before in self._single.items():
            is_root = path in self._paths.roots
            now = _signature(path, is_root)
            if now != before:
                self._single[path] = now
                changed.add(path)
                moved = moved or is_root
        for path, directory in self._directories.items():
            if directory.watch < 0:
                entries = _entries(path)
                names = {name for name, _ in entries.items() ^ directory.entries.items()}
                changed.update(path / name for name in names)
                directory.entries = entries
        return frozenset(changed), moved

    # ------------------------------------------------------------ in the trio thread

    async def _poll(self) -> None:
        pause = POLL_S
        while True:
            await trio.sleep(pause)
            async with self._lock:
                began = trio.current_time()
                changed, moved = await trio.to_thread.run_sync(self._look)
                pause = max(POLL_S, (trio.current_time() - began) / POLL_SHARE)
            if changed:
                self._on_change(changed, moved)

    async def _read_events(self) -> None:
        await self._opened.wait()
        assert self._inotify is not None
        while True:
            await trio.lowlevel.wait_readable(self._inotify.file)
            async with self._lock:
                events = self._inotify.read()
                changed, moved = self._assign(events)
                if any(event.mask & IN_Q_OVERFLOW for event in events):
                    # Events were lost: everything may have changed. In a thread: there may be thousands of directories.
                    changed |= await trio.to_thread.run_sync(files_in, tuple(self._directories))
                    moved = True
            if changed or moved:
                self._on_change(changed, moved)

    def _assign(self, events: Iterable[InotifyEvent]) -> tuple[frozenset[Path], bool]:
        """Return the paths that events are about, as for `on_change`."""
        changed: set[Path] = set()
        moved = False
        for event in events:
            paths = self._by_watch.get(event.watch, set())
            if event.mask & GONE_EVENTS:
                changed |= paths
                moved = moved or bool(paths)
                for path in [*paths]:
                    self._drop(path)
            elif event.name:
                changed.update(path / event.name for path in paths)
        return frozenset(changed), moved


def files_in(paths: Iterable[Path]) -> frozenset[Path]:
    """Return the paths of the files and directories directly in these directories."""
    found: set[Path] = set()
    for path in paths:
        try:
            found.update(path.iterdir())
        except OSError:
            continue  # it has been removed again
    return frozenset(found)


def changed_since(began: float, paths: Iterable[Path]) -> frozenset[Path]:
    """Return the files directly in these directories that were changed between the wall-clock time `began` and now."""
    found: set[Path] = set()
    now = time.time()  # an unpacked file may have a time in the future
    for path in paths:
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it has been removed again
                    if not entry.is_dir() and began <= entry.stat().st_mtime <= now:
                        found.add(path / entry.name)
    return frozenset(found)


def directories_among(paths: Iterable[Path]) -> frozenset[Path]:
    """Return those of the paths that are directories, or links to directories."""
    by_parent: dict[str, dict[str, Path]] = {}
    for path in paths:
        parent, name = os.path.split(path)
        by_parent.setdefault(parent, {})[name] = path
    found: set[Path] = set()
    for parent, changed in by_parent.items():
        if len(changed) < SCAN_FROM:
            found.update(path for path in changed.values() if os.path.isdir(path))
            continue
        # One look at the directory, which knows what its entries are, instead of a system call for each path.
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            found.update(changed[entry.name] for entry in entries if entry.name in changed and entry.is_dir())
    return frozenset(found)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _signature(path: Path, is_root: bool) -> Signature:
    """Return the signature of what a path leads to; of a root without time and size, which inotify sees."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    identity = (status.st_dev, status.st_ino)
    return identity if is_root else (*identity, status.st_mtime_ns, status.st_size)


def _entries(directory: Path) -> dict[str, Signature]:
    """Return the signatures of the entries of a directory, by name; empty where it cannot be read."""
    found: dict[str, Signature] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    found[entry.name] = ()
                    continue
                # A directory changes with its entries, which is no change of its own.
                changes = () if entry.is_dir() else (status.st_mtime_ns, status.st_size)
                found[entry.name] = (status.st_dev, status.st_ino, *changes)
    except OSError:
        pass
    return found


def _describe(refused: dict[Path, OSError]) -> str:
    """Return a text about directories that inotify refuses, and what to raise; empty if there are none."""
    if not refused:
        return ""
    first, error = next(iter(refused.items()))
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOSPC and (limit := watch_limit()):
        reason = (
            f"{limit.name} ({limit.value}) is reached — raise it with sysctl, or narrow services.*.watch or .gitignore"
        )
    return f"{first}{more}: looked at every second instead of being watched: {reason}"
