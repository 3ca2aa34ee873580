"""Restarts a service whose sources (`watch`) were saved; with `up --watch` applies a saved manifest.

A `DirectoryWatcher` reports changed paths; ignored directories are not watched. Changes within a short time are handled
together. A manifest that is wrong, or empty because an editor has written only half of it, is reported as an event and
changes nothing. Imported only where files are watched.
"""

from collections.abc import Awaitable, Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol

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
    parse_rules,
)
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.watch.directory_watcher import DirectoryWatcher

QUIET_S = 0.15
"""Changes are handled when there was no other change for this long: then saving is complete."""

MAX_WAIT_S = 2.0
"""Changes that do not pause (a build that keeps writing) are handled after this time all the same."""

RETRY_S = 1.0

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
    directories: frozenset[Path] = frozenset()


class SourceWatcher:
    """Restarts services whose sources were saved; with `up --watch` applies a saved manifest by calling `apply`.

    Belongs to the trio thread.
    """

    def __init__(self, reconciler: Reconciler, actions: ServiceActions, apply: Apply) -> None:
        self._reconciler = reconciler
        self._actions = actions
        self._apply = apply
        self._ignored = IgnoreRules()
        self._changed: set[Path] = set()
        self._wakeup = trio.Event()
        self._outdated = False
        """Whether the set of watched directories has to be computed again."""
        self._restarting: dict[str, set[Path]] = {}
        """Service that is being restarted → the paths that have changed since its restart began."""

    async def run(self) -> None:
        """Watch files and act on changes until cancelled."""
        watcher: DirectoryWatcher | None = None
        watched_directories: frozenset[Path] = frozenset()
        is_first = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_manifest)
            try:
                while True:
                    self._outdated = False
                    # A walk that is abandoned ends by itself: it is bounded.
                    watched = await trio.to_thread.run_sync(
                        self._find_files, self._reconciler.manifest, abandon_on_cancel=True
                    )
                    if len(watched.directories) >= MAX_DIRECTORIES:
                        self._report_too_many()
                    if watched.directories != watched_directories:
                        watcher, before = await self._open_watcher(watched.directories), watcher
                        if before is not None:
                            before.close()
                            # Files in a new directory may have been written before it was watched.
                            new = watched.directories - watched_directories
                            self._on_change(await trio.to_thread.run_sync(_files_in, new))
                        watched_directories = watched.directories
                    # A manifest that was saved after its load and before it was watched caused no event.
                    if is_first and watched.manifest_files and await trio.to_thread.run_sync(self._is_manifest_saved):
                        self._on_change(watched.manifest_files)
                    is_first = False
                    while not self._outdated:
                        self._handle(await self._next_changes(), watched, nursery)
            finally:
                if watcher is not None:
                    watcher.close()

    # ------------------------------------------------------------ what changed

    def _find_files(self, manifest: Manifest) -> WatchedFiles:
        """Return the files and directories to watch for `manifest`. Runs in a thread, because it walks directories."""
        specs = manifest.services.values()
        rules = {spec.name: parse_rules(spec.watch, manifest.directory) for spec in specs if spec.watch}
        files: frozenset[Path] = frozenset()
        if self._reconciler.context.options.watch:
            env_files = (path for spec in specs for path in spec.env_file)
            files = frozenset(path.absolute() for path in (manifest.path, manifest.directory / ".env", *env_files))
        self._ignored = IgnoreRules()
        found = {path.parent for path in files if path.parent.is_dir()}
        for service_rules in rules.values():
            found.update(islice(directories(service_rules, self._ignored), MAX_DIRECTORIES))
        return WatchedFiles(rules, files, frozenset(found))

    def _is_manifest_saved(self) -> bool:
        """Return whether the manifest on disk is another one than the adopted one, or wrong. Runs in a thread."""
        try:
            return load_manifest(self._reconciler.manifest.path) != self._reconciler.manifest
        except MinikubeError:
            return True  # `apply` reports what is wrong

    def _report_too_many(self) -> None:
        text = f"watch: more than {MAX_DIRECTORIES} directories, the rest is not watched — narrow services.*.watch or .gitignore"
        self._reconciler.store.event("watch.failed", text, "error")

    async def _open_watcher(self, paths: frozenset[Path]) -> DirectoryWatcher | None:
        """Return a watcher of the directories `paths`; None, after an event, where they cannot be watched."""
        if not paths:
            return None
        watcher = DirectoryWatcher(paths, self._on_change)
        await watcher.started.wait()
        if not watcher.error:
            return watcher
        if all(path.is_dir() for path in paths):
            advice = "raise fs.inotify.max_user_watches, or narrow services.*.watch or .gitignore"
            self._reconciler.store.event("watch.failed", f"watch: {watcher.error} — {advice}", "error")
        else:  # a directory has just been removed: compute them again
            await trio.sleep(RETRY_S)
            self._outdated = True
            self._wakeup.set()
        return None

    def _on_change(self, paths: frozenset[Path]) -> None:
        if paths:
            self._changed |= paths
            self._wakeup.set()

    async def _follow_manifest(self) -> None:
        """Have the watched directories computed again whenever the reconciler adopts a manifest, until cancelled."""
        while True:
            await self._reconciler.manifest_adopted.wait()
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

    def _handle(self, paths: frozenset[Path], watched: WatchedFiles, nursery: trio.Nursery) -> None:
        """Start tasks in `nursery` for changed paths: an apply of the manifest, or restarts of services.

        Changes of directories or ignore files, which change the set of `watched` files, have that set computed again.
        """
        if not paths.isdisjoint(watched.manifest_files):
            nursery.start_soon(self._apply_manifest)
        for name, rules in watched.rules.items():
            if changed := {path for path in paths if self._is_source(path, rules)}:
                if name in self._restarting:
                    self._restarting[name] |= changed
                else:
                    self._restarting[name] = changed
                    nursery.start_soon(self._restart, name)
        # New and removed directories, and changed ignore rules, change the set of directories to watch.
        self._outdated = self._outdated or any(
            path.name == IGNORE_FILE or path.is_dir() != (path in watched.directories) for path in paths
        )

    def _is_source(self, path: Path, rules: tuple[Rule, ...]) -> bool:
        """Return whether a changed path is a source file that `rules` (of one service) select and no ignore file excludes."""
        base = base_of(path, rules)
        return base is not None and is_source(path, rules) and not path.is_dir() and not self._ignored(path, base)

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
        first, *rest = sorted(paths)
        directory = self._reconciler.manifest.directory
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


def _files_in(paths: Iterable[Path]) -> frozenset[Path]:
    """Return the paths of the files and directories directly in these directories."""
    found: set[Path] = set()
    for path in paths:
        try:
            found.update(path.iterdir())
        except OSError:
            continue  # it has been removed again
    return frozenset(found)
