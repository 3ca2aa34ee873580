"""Reacts to saved files (floor 3): restarts services whose `watch`ed sources changed; with `up --watch` applies the manifest.

An `DirectoryWatcher` tells what changed in the directories that matter; ignored ones are not even listened to. What changes together is taken
together, once it is quiet. A manifest that is wrong, or empty because an editor is half through, is an error event and changes
nothing. Nobody imports this before there is something to watch.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import trio
from msgspec import Struct

from minikube.errors import MinikubeError
from minikube.manifest import Manifest
from minikube.project.watch_patterns import (
    IGNORE_FILE,
    Ignored,
    Rule,
    base_of,
    directories,
    is_source,
    parse_rules,
)
from minikube.supervisor.reconcile.commands import CommandHandler
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.watch.directory_watcher import DirectoryWatcher

QUIET_S = 0.15
"""No change for that long: what is being saved is whole."""

PATIENCE_S = 2.0
"""A tree that never gets quiet (a build that goes on writing) is acted on after that long all the same."""

RETRY_S = 1.0

MAX_DIRECTORIES = 20_000
"""A pattern that takes in more is a mistake (`..`, a home directory); each costs the kernel about a kilobyte."""


class WatchedService(Struct, frozen=True):
    """What matters, for one manifest and the directories of one moment."""

    rules: dict[str, tuple[Rule, ...]] = {}
    """Service → its rules."""
    files: frozenset[Path] = frozenset()
    """The manifest and what it is read together with; empty without `up --watch`."""
    directories: frozenset[Path] = frozenset()


class SourceWatcher:
    """Belongs to the trio thread."""

    def __init__(self, core: Reconciler, hands: CommandHandler) -> None:
        self._core = core
        self._hands = hands
        self._ignored = Ignored()
        self._changed: set[Path] = set()
        self._news = trio.Event()
        self._stale = False
        """Whether what is watched has to be worked out again."""
        self._restarting: dict[str, set[Path]] = {}
        """Services that are being restarted, and what has changed since that began."""

    async def run(self) -> None:
        """Watches for ever; closes its ear when cancelled."""
        ear: DirectoryWatcher | None = None
        heard: frozenset[Path] = frozenset()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notice_manifests)
            try:
                while True:
                    self._stale = False
                    # Abandoned, a walk ends by itself: it is bounded.
                    watched = await trio.to_thread.run_sync(self._look, self._core.manifest, abandon_on_cancel=True)
                    if len(watched.directories) >= MAX_DIRECTORIES:
                        self._say_too_many()
                    if watched.directories != heard:
                        ear, before = await self._listen(watched.directories), ear
                        if before is not None:
                            before.close()
                            # What stands in a new directory may be older than our ear for it.
                            self._hear(await trio.to_thread.run_sync(_files_in, watched.directories - heard))
                        heard = watched.directories
                    while not self._stale:
                        self._act(await self._next(), watched, nursery)
            finally:
                if ear is not None:
                    ear.close()

    # ------------------------------------------------------------ what changed

    def _look(self, manifest: Manifest) -> WatchedService:
        """In a thread: it walks directories."""
        specs = manifest.services.values()
        rules = {spec.name: parse_rules(spec.watch, manifest.directory) for spec in specs if spec.watch}
        files: frozenset[Path] = frozenset()
        if self._core.options.watch:
            env_files = (path for spec in specs for path in spec.env_file)
            files = frozenset(path.absolute() for path in (manifest.path, manifest.directory / ".env", *env_files))
        self._ignored = Ignored()
        found = {path.parent for path in files if path.parent.is_dir()}
        for one in rules.values():
            found.update(islice(directories(one, self._ignored), MAX_DIRECTORIES))
        return WatchedService(rules, files, frozenset(found))

    def _say_too_many(self) -> None:
        text = f"watch: more than {MAX_DIRECTORIES} directories, the rest is not watched — narrow services.*.watch or .gitignore"
        self._core.board.event("watch.failed", text, "error")

    async def _listen(self, paths: frozenset[Path]) -> DirectoryWatcher | None:
        if not paths:
            return None
        ear = DirectoryWatcher(paths, self._hear)
        await ear.listening.wait()
        if not ear.failed:
            return ear
        if all(path.is_dir() for path in paths):
            advice = "raise fs.inotify.max_user_watches, or narrow services.*.watch or .gitignore"
            self._core.board.event("watch.failed", f"watch: {ear.failed} — {advice}", "error")
        else:  # one of them has just gone: look again
            await trio.sleep(RETRY_S)
            self._stale = True
            self._news.set()
        return None

    def _hear(self, paths: frozenset[Path]) -> None:
        if paths:
            self._changed |= paths
            self._news.set()

    async def _notice_manifests(self) -> None:
        while True:
            await self._core.adopted.wait()
            self._stale = True
            self._news.set()

    async def _next(self) -> frozenset[Path]:
        """What has changed, once it is quiet."""
        await self._news.wait()
        with trio.move_on_after(PATIENCE_S):
            while self._news.is_set():
                self._news = trio.Event()
                with trio.move_on_after(QUIET_S):
                    await self._news.wait()
        self._news = trio.Event()
        found, self._changed = frozenset(self._changed), set()
        return found

    # ------------------------------------------------------------ what follows

    def _act(self, paths: frozenset[Path], watched: WatchedService, nursery: trio.Nursery) -> None:
        if not paths.isdisjoint(watched.files):
            nursery.start_soon(self._apply)
        for name, rules in watched.rules.items():
            if changed := {path for path in paths if self._is_source(path, rules)}:
                if name in self._restarting:
                    self._restarting[name] |= changed
                else:
                    self._restarting[name] = changed
                    nursery.start_soon(self._restart, name)
        self._stale = self._stale or any(
            path.name == IGNORE_FILE or path.is_dir() != (path in watched.directories) for path in paths
        )

    def _is_source(self, path: Path, rules: tuple[Rule, ...]) -> bool:
        base = base_of(path, rules)
        return base is not None and is_source(path, rules) and not path.is_dir() and not self._ignored(path, base)

    async def _restart(self, name: str) -> None:
        """Again for what changes meanwhile. A service that was stopped by hand stays stopped."""
        core = self._core
        try:
            while changed := self._restarting[name]:
                self._restarting[name] = set()
                if name not in core.specs or not any(runner.wish.runs for runner in core.roster.of(name)):
                    return
                core.board.event("service.changed", f"{name} restarts: {self._called(changed)} changed", service=name)
                try:
                    await core.rebuild(name)
                    await self._hands.renew([runner for runner in core.roster.of(name) if runner.wish.runs])
                except MinikubeError as error:  # what was saved meanwhile may be what mends it
                    core.board.event("service.changed", f"{name}: {error}", "warning", service=name)
        finally:
            del self._restarting[name]

    def _called(self, paths: Iterable[Path]) -> str:
        first, *rest = sorted(paths)
        directory = self._core.manifest.directory
        shown = first.relative_to(directory) if first.is_relative_to(directory) else first
        return f"{shown} and {len(rest)} more" if rest else str(shown)

    async def _apply(self) -> None:
        core = self._core
        try:
            await self._hands.apply(refuse_empty=True)
        except MinikubeError as error:
            lines = str(error).splitlines()
            for line in lines:
                core.board.event("apply.failed", line, "error")
            core.board.event("apply.failed", "the manifest was not applied, nothing has changed", "warning")


def _files_in(paths: Iterable[Path]) -> frozenset[Path]:
    found: set[Path] = set()
    for path in paths:
        try:
            found.update(path.iterdir())
        except OSError:
            continue  # it has gone again
    return frozenset(found)
