"""What follows from a saved file, with a supervisor that only notes what is asked of it."""

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.manifest import load_manifest
from minikube.project.watch_patterns import parse_rules
from minikube.project_dir import ManifestFiles
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.context import RunContext
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.reconcile.watch.directory_watcher import WatchedPaths
from minikube.supervisor.reconcile.watch.watcher import Changes, SourceWatcher, WatchedFiles
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import soon


class FakeSupervisor:
    """Implements what a watcher needs; its builds wait for `built`, and fail while `broken`."""

    def __init__(self) -> None:
        self.store = StateStore("test")
        self.manifest: Any = SimpleNamespace(directory=Path("/shop"), path=Path("/shop/supervisor.toml"))
        self.specs = {"x": None}
        self.asked: list[Any] = []
        self.broken = True
        self.replicas = self
        self.built = trio.Event()
        self.context = RunContext(Path("/shop/.minikube"), LaunchOptions(watch=True), self.store, ProcessTable(), "")
        self.manifest_adopted = CancelEvent()

    def of(self, name: str) -> list[Any]:
        return [SimpleNamespace(desired=DesiredState())]

    async def rebuild_image(self, name: str) -> None:
        await self.built.wait()
        self.asked.append("build")
        if self.broken:
            self.broken = False
            raise StartError("cannot build: a typing error")

    async def replace(self, controllers: list[Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append("restart")

    async def apply(self, *, refuse_empty: bool) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("apply", refuse_empty))


async def test_a_file_saved_while_a_build_failed_is_built_as_well() -> None:
    supervisor = FakeSupervisor()
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)  # type: ignore[arg-type]
    watcher._restarting["x"] = {Path("/shop/a.py")}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher._restart, "x")
        await trio.testing.wait_all_tasks_blocked()
        watcher._restarting["x"] |= {Path("/shop/a.py")}  # the correction
        supervisor.built.set()
    assert supervisor.asked == ["build", "build", "restart"]
    assert watcher._restarting == {}


async def test_a_saved_manifest_is_applied_and_refused_where_it_is_empty() -> None:
    supervisor = FakeSupervisor()
    await SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)._apply_manifest()  # type: ignore[arg-type]
    assert supervisor.asked == [("apply", True)]


async def test_a_manifest_that_was_saved_before_it_was_watched_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.a]\ncommand = "sleep 9"\n')
    supervisor = FakeSupervisor()
    supervisor.manifest = load_manifest(path)
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)  # type: ignore[arg-type]
    assert not watcher._is_manifest_saved()
    path.write_text("[services.a")
    assert watcher._is_manifest_saved()
    path.write_text('[services.a]\ncommand = "sleep 10"\n')
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await soon(lambda: supervisor.asked)
        nursery.cancel_scope.cancel()
    assert supervisor.asked == [("apply", True)]


async def test_sources_saved_before_they_were_watched_restart_a_service_once_it_runs(tmp_path: Path) -> None:
    """What was saved before the services were started does not."""
    path, source = tmp_path / "supervisor.toml", tmp_path / "src"
    source.mkdir()
    path.write_text('[services.x]\ncommand = "sleep 9"\nwatch = ["src"]\n')
    for name, saved in (("old", 1_000), ("new", 3_000), ("newer", 4_000), ("future", 99_000_000_000)):
        (source / name).touch()
        os.utime(source / name, (saved, saved))
    supervisor = FakeSupervisor()
    supervisor.manifest = load_manifest(path)
    supervisor.context.options = LaunchOptions()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(SourceWatcher(supervisor, supervisor, supervisor.apply, 2_000.0).run)  # type: ignore[arg-type]
        await soon(lambda: supervisor.store.events_since(0))
        nursery.cancel_scope.cancel()
    assert supervisor.store.events_since(0)[-1].message == "x is restarted: src/new and 1 more changed"


async def test_a_change_right_after_another_manifest_was_adopted_is_judged_by_its_patterns(tmp_path: Path) -> None:
    """Its patterns count from the adoption on, also before its directories are watched."""
    path, source = tmp_path / "supervisor.toml", tmp_path / "src"
    source.mkdir()

    def load(patterns: str) -> Any:
        path.write_text(f'[services.x]\ncommand = "sleep 9"\nwatch = [{patterns}]\n')
        return load_manifest(path)

    supervisor = FakeSupervisor()
    supervisor.manifest = load('"src", "!src/*.txt"')
    supervisor.context.options = LaunchOptions()
    supervisor.broken = False
    supervisor.built.set()
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await soon(lambda: source in watcher._watcher._directories)
        supervisor.manifest = load('"src"')
        adopted, supervisor.manifest_adopted = supervisor.manifest_adopted, CancelEvent()
        adopted.set()
        (source / "a.txt").write_text("1")
        await soon(lambda: supervisor.asked == ["build", "restart"])
        nursery.cancel_scope.cancel()
    assert "src/a.txt changed" in supervisor.store.events_since(0)[-1].message


async def test_a_burst_of_changes_costs_no_system_call_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds of many entries of one directory are read with the directory, and come out as for each alone."""
    source = tmp_path / "src"
    source.mkdir()
    paths = [source / f"{number}.py" for number in range(1_000)]
    for path in paths:
        path.touch()
    (source / "new").mkdir()
    (source / "link").symlink_to("new")
    removed = source / "removed.py"
    supervisor = FakeSupervisor()
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)  # type: ignore[arg-type]
    watched = WatchedFiles(
        {name: parse_rules(["src"], tmp_path) for name in "xy"}, paths=WatchedPaths(frozenset({source}))
    )
    asked: list[str] = []

    def isdir(path: str | Path) -> bool:
        asked.append(str(path))
        return os.path.exists(path) and stat.S_ISDIR(os.stat(path).st_mode)

    monkeypatch.setattr(os.path, "isdir", isdir)
    burst = watcher._classify(frozenset([*paths, source / "new", source / "link", removed]), watched)
    assert burst.sources == {name: {*paths, removed} for name in "xy"}
    assert burst.is_outdated
    assert asked == []
    for few in ({source / "new"}, {source / "link"}):
        assert watcher._classify(frozenset(few), watched) == Changes({"x": set(), "y": set()}, False, True)
    assert watcher._classify(frozenset(paths[:2]), watched) == Changes(
        {"x": {*paths[:2]}, "y": {*paths[:2]}}, False, False
    )


@pytest.mark.parametrize("first_target", ["none", "other"])
async def test_a_file_replaced_by_a_link_is_applied_when_its_target_comes_or_changes(
    tmp_path: Path, first_target: str
) -> None:
    path, override = tmp_path / "supervisor.toml", tmp_path / "dev.toml"
    path.write_text('[services.a]\ncommand = "sleep 9"\n')
    override.write_text('[services.a]\ncommand = "sleep 10"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / "x.toml"
    if first_target == "other":
        target.write_text('[services.a]\ncommand = "sleep 11"\n')
    supervisor = FakeSupervisor()
    supervisor.manifest = load_manifest(ManifestFiles(path, (override,)))
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, 0.0)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await soon(lambda: tmp_path in watcher._watcher._directories)
        override.unlink()
        override.symlink_to(target)
        await soon(lambda: ("apply", True) in supervisor.asked)
        await soon(lambda: override in watcher._watcher._single)
        supervisor.asked.clear()
        target.write_text('[services.a]\ncommand = "sleep 12 13"\n')
        await soon(lambda: ("apply", True) in supervisor.asked)
        nursery.cancel_scope.cancel()


async def test_a_source_replaced_by_a_link_restarts_its_service_when_the_target_comes(tmp_path: Path) -> None:
    path, source = tmp_path / "supervisor.toml", tmp_path / "src"
    source.mkdir()
    (source / "a.py").touch()
    path.write_text('[services.x]\ncommand = "sleep 9"\nwatch = ["src"]\n')
    supervisor = FakeSupervisor()
    supervisor.manifest = load_manifest(path)
    supervisor.context.options = LaunchOptions()
    supervisor.broken = False
    supervisor.built.set()
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, time.time() + 99)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await soon(lambda: source in watcher._watcher._directories)
        (source / "a.py").unlink()
        (source / "a.py").symlink_to(tmp_path / "later.py")
        await soon(lambda: "restart" in supervisor.asked and source / "a.py" in watcher._watcher._single)
        supervisor.asked.clear()
        (tmp_path / "later.py").touch()
        await soon(lambda: "restart" in supervisor.asked)
        nursery.cancel_scope.cancel()
