"""Restarts a service whose sources (`watch`) were saved; with `up --watch` applies a saved manifest.

A `DirectoryWatcher` reports changed paths; ignored directories are not watched. A path that is missing is looked for, and a
link is followed to its target, but not into a directory below the one that a pattern names. Changes within a short time are handled
together. A manifest that is wrong, or empty because an editor has written only half of it, is reported as an event and
changes nothing. Imported only where files are watched.
"""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import NoReturn, Protocol

import trio
from msgspec import Struct

from minikube.errors import MinikubeError
from minikube.manifest import Manifest, load_manifest
from minikube.project.watch_patterns import (
    IGNORE_FILE,
    IgnoreRules,
    Rule,
    base_of,
    directories,
    is_source,
    links_in,
    parse_rules,
)
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.watch.directory_watcher import (
    DirectoryWatcher,
    WatchedPaths,
    changed_since,
    directories_among,
    files_in,
)
from minikube.supervisor.runtime.process.process_table import ProcessTable

QUIET_S = 0.15
"""Changes are handled when there was no other change for this long: then saving is complete."""

MAX_WAIT_S = 2.0
"""Changes that do not pause (a build that keeps writing) are handled after this time all the same."""

MOVE_S = 2.0
"""After a move of the project nothing is watched until it is noticed, within a second (`daemon.run_server`)."""

MAX_LINKS = 1_000
"""How many symbolic links of a service are followed: each is looked at every second."""

MAX_DIRECTORIES = 20_000
"""A pattern that selects more is a mistake (`..`, a home directory); each directory costs the kernel about a kilobyte."""


class Apply(Protocol):
    """The type of `ManifestReconciler.apply`, as the watcher calls it."""

    def __call__(self, *, refuse_empty: bool) -> Awaitable[object]: ...


class WatchedFiles(Struct, frozen=True):
    """The files and directories to watch for one manifest."""

    rules: dict[str, tuple[Rule, ...]] = {}
    """Service → the rules of its sources."""
    manifest_files: frozenset[Path] = frozenset()
    """The manifest and the files it is read together with; empty without `up --watch`."""
    paths: WatchedPaths = WatchedPaths()


class Changes(Struct, frozen=True):
    """What changed paths mean."""

    sources: dict[str, set[Path]]
    """Service → its changed sources."""
    manifest: bool
    """Whether the manifest, or a file that is read together with it, has changed."""
    is_outdated: bool
    """Whether the set of watched files has to be computed again."""
    dangling: frozenset[Path] = frozenset()
    """Changed paths that have become links without a target."""


class SourceWatcher:
    """Restarts services whose sources were saved; with `up --watch` applies a saved manifest by calling `apply`.

    Belongs to the trio thread.
    """

    def __init__(self, reconciler: Reconciler, actions: ServiceActions, apply: Apply, began: float) -> None:
        """`began` is the wall-clock time from which on changed sources count, also before they are watched."""
        self._began = began
        self._reconciler = reconciler
        self._actions = actions
        self._apply = apply
        self._ignored = IgnoreRules()
        self._watcher = DirectoryWatcher(self._on_change, self._report)
        self._changed: set[Path] = set()
        self._wakeup = trio.Event()
        self._outdated = False
        """Whether the set of watched directories has to be computed again."""
        self._dangling: frozenset[Path] = frozenset()
        """Links without a target that are not watched yet: a target that is made before they are would cause no event."""
        self._moves: int | None = None
        """How often the project had been moved when files were looked for; None: they have not been looked for yet."""
        self._restarting: dict[str, set[Path]] = {}
        """Service that is being restarted → the paths that have changed since its restart began."""

    async def run(self) -> None:
        """Watch files and act on changes until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, lambda: self._reconciler.manifest_adopted)
            nursery.start_soon(self._follow, lambda: self._reconciler.context.relocated)
            nursery.start_soon(self._watcher.run)
            while True:
                self._outdated = False
                manifest, moves = self._reconciler.manifest, len(self._process_table.relocations)
                # A walk that is abandoned ends by itself: it is bounded.
                watched = await trio.to_thread.run_sync(self._find_files, manifest, abandon_on_cancel=True)
                if len(watched.paths.directories) >= MAX_DIRECTORIES:
                    self._report_too_many()
                added = await self._watcher.update(watched.paths)
                self._on_change(await self._find_missed(watched, added, moves), False)
                self._on_change(frozenset(filter(os.path.exists, self._dangling)), False)
                self._dangling = frozenset()
                while not self._outdated:
                    paths = await self._next_changes()
                    if self._reconciler.manifest is not manifest:
                        # A path may have changed after the adoption: the new patterns decide, once they are watched.
                        self._on_change(paths, True)
                        break
                    changes = await trio.to_thread.run_sync(self._classify, paths, watched, abandon_on_cancel=True)
                    self._handle(changes, nursery)

    # ------------------------------------------------------------ what changed

    def _find_files(self, manifest: Manifest) -> WatchedFiles:
        """Return the files and directories to watch for `manifest`. Runs in a thread, because it walks directories."""
        specs, current_path = manifest.services.values(), self._process_table.current_path
        directory = current_path(manifest.directory)
        rules = {spec.name: parse_rules(spec.watch, directory) for spec in specs if spec.watch}
        files: frozenset[Path] = frozenset()
        if self._reconciler.context.options.watch:
            env_files = (file.path for spec in specs for file in spec.env_file)
            read = (*manifest.files.possible(), manifest.directory / ".env", *env_files)
            files = frozenset(current_path(path.absolute()) for path in read)
        self._ignored = IgnoreRules()
        roots = {path.parent for path in files}
        found = {path for path in roots if os.path.isdir(path)}  # Path.is_dir raises PermissionError
        links = {path for path in files if os.path.islink(path)}
        for service_rules in rules.values():
            sources = set(islice(directories(service_rules, self._ignored), MAX_DIRECTORIES))
            links_to_files = (link for link in links_in(sources) if not os.path.isdir(link))
            links.update(islice((link for link in links_to_files if self._is_source(link, service_rules)), MAX_LINKS))
            found |= sources
            roots.update(rule.base for rule in service_rules if not rule.negated)
        paths = WatchedPaths(frozenset(found), frozenset(links), frozenset(roots))
        return WatchedFiles(rules, files, paths)

    async def _find_missed(self, watched: WatchedFiles, added: frozenset[Path], moves: int) -> frozenset[Path]:
        """Return the files that may have been saved before the directories `added` were watched.

        `moves` is how often the project had been moved when they were looked for.
        """
        before, self._moves = self._moves, moves
        if before is None:
            # A manifest that was saved after its load and before it was watched caused no event.
            is_saved = await trio.to_thread.run_sync(self._is_manifest_saved)
            manifest_files = watched.manifest_files if is_saved else frozenset()
            return manifest_files | await trio.to_thread.run_sync(changed_since, self._began, added)
        if moves != before:  # all directories are new by their paths only
            return await trio.to_thread.run_sync(changed_since, time.time() - MOVE_S, added)
        return await trio.to_thread.run_sync(files_in, added)

    def _is_manifest_saved(self) -> bool:
        """Return whether a watched manifest on disk is another one than the adopted one, or wrong. Runs in a thread."""
        # After a move the paths in it differ, which is no save.
        if not self._reconciler.context.options.watch or self._process_table.relocations:
            return False
        try:
            return load_manifest(self._reconciler.manifest.files) != self._reconciler.manifest
        except MinikubeError:
            return True  # `apply` reports what is wrong

    def _report_too_many(self) -> None:
        text = f"watch: more than {MAX_DIRECTORIES} directories, the rest is not watched — narrow services.*.watch or .gitignore"
        self._reconciler.store.event("watch.failed", text, "error")

    def _report(self, problem: str) -> None:
        self._reconciler.store.event("watch.failed", f"watch: {problem}", "warning")

    def _on_change(self, paths: frozenset[Path], moved: bool) -> None:
        """Note changed paths. `moved` says that the directories to watch may be others."""
        self._outdated = self._outdated or moved
        if paths or moved:
            self._changed |= paths
            self._wakeup.set()

    @property
    def _process_table(self) -> ProcessTable:
        return self._reconciler.context.process_table

    async def _follow(self, find_event: Callable[[], CancelEvent]) -> NoReturn:
        """Have the watched directories computed again each time that an event is set, until cancelled.

        `find_event` returns the present event: each is replaced when it is set.
        """
        while True:
            await find_event().wait()
            self._outdated = True
            self._wakeup.set()

    async def _next_changes(self) -> frozenset[Path]:
        """Wait for a change, then until `QUIET_S` pass without one; return all changed paths."""
        await self._wakeup.wait()
        with trio.move_on_after(MAX_WAIT_S):
            while self._wakeup.is_set():
                self._wakeup = trio.Event()
                with trio.move_on_after(QUIET_S):
                    await self._wakeup.wait()
        self._wakeup = trio.Event()
        found, self._changed = frozenset(self._changed), set()
        return found

    # ------------------------------------------------------------ what follows

    def _classify(self, paths: frozenset[Path], watched: WatchedFiles) -> Changes:
        """Return what changed paths mean. Runs in a thread: for ten thousand paths it takes a second."""
        folders = directories_among(paths)
        files = [path for path in paths if path not in folders]
        sources = {
            name: {path for path in files if self._is_source(path, rules)} for name, rules in watched.rules.items()
        }
        # New and removed directories, and changed ignore rules, change the set of directories to watch.
        known = watched.paths.directories
        is_outdated = any(path.name == IGNORE_FILE or (path in folders) != (path in known) for path in paths)
        # A file that a link replaced, or the other way round: the target of a link is watched in another way.
        selected = watched.manifest_files.intersection(files).union(*sources.values())
        is_outdated = is_outdated or any(os.path.islink(path) != (path in watched.paths.links) for path in selected)
        dangling = frozenset(path for path in selected if os.path.islink(path) and not os.path.exists(path))
        return Changes(sources, not paths.isdisjoint(watched.manifest_files), is_outdated, dangling)

    def _handle(self, changes: Changes, nursery: trio.Nursery) -> None:
        """Start tasks in `nursery`: an apply of the manifest, or restarts of services."""
        self._outdated = self._outdated or changes.is_outdated
        self._dangling |= changes.dangling
        if changes.manifest:
            nursery.start_soon(self._apply_manifest)
        for name, changed in changes.sources.items():
            if not changed:
                continue
            if name in self._restarting:
                self._restarting[name] |= changed
            else:
                self._restarting[name] = changed
                nursery.start_soon(self._restart, name)

    def _is_source(self, path: Path, rules: tuple[Rule, ...]) -> bool:
        """Return whether `rules` (of one service) select a path that is no directory, and no ignore file excludes it."""
        base = base_of(path, rules)
        if base is None or path == base:  # a base is a directory, which may have been removed
            return False
        return is_source(path, rules) and not self._ignored(path, base)

    async def _restart(self, name: str) -> None:
        """Rebuild and restart a service whose sources changed, unless a user stopped it; repeat for later changes."""
        reconciler = self._reconciler
        try:
            # Until no more files have changed: a file saved during a build is not in that build.
            while changed := self._restarting[name]:
                self._restarting[name] = set()
                controllers = reconciler.replicas.of(name)
                if name not in reconciler.specs or not any(controller.desired.running for controller in controllers):
                    return
                text = f"{name} is restarted: {self._describe(changed)} changed"
                reconciler.store.event("sources.changed", text, service=name)
                try:
                    await reconciler.rebuild_image(name)
                    running = [controller for controller in reconciler.replicas.of(name) if controller.desired.running]
                    await self._actions.replace(running)
                except MinikubeError as error:  # continue: a file saved meanwhile may be the correction
                    reconciler.store.event("sources.changed", f"{name}: {error}", "warning", service=name)
        finally:
            del self._restarting[name]

    def _describe(self, paths: Iterable[Path]) -> str:
        """Return a text with the first of the changed paths, and how many more there are."""
        first, *rest = sorted(map(self._process_table.current_path, paths))
        directory = self._process_table.current_path(self._reconciler.manifest.directory)
        shown = first.relative_to(directory) if first.is_relative_to(directory) else first
        return f"{shown} and {len(rest)} more" if rest else str(shown)

    async def _apply_manifest(self) -> None:
        """Apply the saved manifest; record a failure as events."""
        store = self._reconciler.store
        try:
            await self._apply(refuse_empty=True)
        except MinikubeError as error:
            for line in str(error).splitlines():
                store.event("apply.failed", line, "error")
            store.event("apply.failed", "the manifest was not applied, nothing has changed", "warning")
