"""Changes in real directories, as the watcher of sources learns of them: also of those that go, move and come back."""

import math
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.manifest import load_manifest
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.reconcile.watch import directory_watcher
from minikube.supervisor.reconcile.watch.watcher import SourceWatcher
from tests.eventually import soon


class Supervisor:
    """Notes which services are restarted, and how often the manifest is applied."""

    def __init__(self, manifest: Path, *, watch: bool) -> None:
        self.store = StateStore("test")
        self.manifest = load_manifest(manifest)
        self.specs = self.manifest.services
        self.context = SimpleNamespace(options=SimpleNamespace(watch=watch))
        self.manifest_adopted = CancelEvent()
        self.replicas = self
        self.restarts: list[str] = []
        self.applied = 0

    def of(self, name: str) -> list[Any]:
        return [SimpleNamespace(name=name, desired=DesiredState())]

    async def rebuild_image(self, name: str) -> None:
        await trio.lowlevel.checkpoint()

    async def replace(self, controllers: list[Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.restarts += [controller.name for controller in controllers]

    async def apply(self, *, refuse_empty: bool) -> None:
        await trio.lowlevel.checkpoint()
        self.applied += 1

    def events(self, kind: str) -> list[str]:
        return [event.message for event in self.store.events_since(0) if event.kind == kind]

    async def restarted(self, name: str) -> None:
        """Wait for a restart of a service, and forget all restarts."""
        await soon(lambda: name in self.restarts, what=f"{name} is restarted")
        self.restarts.clear()

    async def expect(self, name: str, change: Callable[[], object]) -> None:
        """Make a change, and wait until the service is restarted and the directories are watched again."""
        self.restarts.clear()
        change()
        await self.restarted(name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_watcher, "POLL_S", 0.05)
    monkeypatch.setattr("minikube.supervisor.reconcile.watch.watcher.QUIET_S", 0.02)


@asynccontextmanager
async def watching(directory: Path, *patterns: str, watch: bool = False) -> AsyncIterator[Supervisor]:
    """Watch for a service `a` with these patterns, and for `b` with its directory `other`."""
    manifest = directory / "supervisor.toml"
    if not manifest.exists():
        quoted = ", ".join(f'"{pattern}"' for pattern in patterns)
        text = f'[services.a]\ncommand = "a"\nwatch = [{quoted}]\n[services.b]\ncommand = "b"\nwatch = ["other"]\n'
        manifest.write_text(text)
        (directory / "other").mkdir()
    supervisor = Supervisor(manifest, watch=watch)
    watcher = SourceWatcher(supervisor, supervisor, supervisor.apply, math.inf)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        await soon(lambda: watcher._watcher._paths.roots, what="the directories are watched")
        yield supervisor
        # Whatever happened to the directories of `a`, those of `b` are still watched.
        await supervisor.expect("b", (directory / "other" / "x").touch)
        assert "a" not in supervisor.restarts
        nursery.cancel_scope.cancel()


def write(path: Path, text: str = "") -> Callable[[], object]:
    def change() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return change


async def test_a_directory_that_is_removed_and_made_again_is_watched_again(tmp_path: Path) -> None:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "a.py").touch()
    async with watching(tmp_path, "src") as supervisor:
        await supervisor.expect("a", lambda: shutil.rmtree(tmp_path / "src"))
        await supervisor.expect("a", write(tmp_path / "src" / "a.py"))
        await supervisor.expect("a", write(tmp_path / "src" / "a.py", "1"))
        await supervisor.expect("a", write(tmp_path / "src" / "deep" / "b.py", "1"))
        await supervisor.expect("a", write(tmp_path / "src" / "deep" / "b.py", "2"))
    assert supervisor.events("watch.failed") == []


async def test_a_directory_that_is_replaced_by_another_one_is_followed_to_its_path(tmp_path: Path) -> None:
    """Its subdirectories are those of the new one; the old one, which lives on elsewhere, is not watched any more."""
    write(tmp_path / "src" / "deep" / "a.py")()
    write(tmp_path / "next" / "deep" / "a.py")()

    def swap() -> None:
        (tmp_path / "src").rename(tmp_path / "before")
        (tmp_path / "next").rename(tmp_path / "src")

    async with watching(tmp_path, "src") as supervisor:
        await supervisor.expect("a", swap)
        await supervisor.expect("a", write(tmp_path / "src" / "deep" / "new.py", "1"))
        await supervisor.expect("a", write(tmp_path / "src" / "deep" / "a.py", "2"))
        write(tmp_path / "before" / "deep" / "a.py", "3")()
        write(tmp_path / "other" / "b.py")()
        await soon(lambda: "b" in supervisor.restarts)
        assert supervisor.restarts == ["b"]


async def test_a_directory_that_comes_later_is_watched_from_then_on(tmp_path: Path) -> None:
    """Also where the directories above it are missing, and outside of the project."""
    project = tmp_path / "project"
    project.mkdir()
    async with watching(project, "src", "../lib/one/**", "gen/deep/*.py") as supervisor:
        await supervisor.expect("a", write(tmp_path / "lib" / "one" / "a.c"))
        await supervisor.expect("a", write(project / "gen" / "deep" / "a.py"))
        await supervisor.expect("a", write(project / "src" / "a.py"))
        await supervisor.expect("a", write(tmp_path / "lib" / "one" / "a.c", "1"))
        await supervisor.expect("a", write(project / "gen" / "deep" / "a.py", "1"))


async def test_a_link_is_followed_to_another_target_and_its_file_to_its_changes(tmp_path: Path) -> None:
    """As a mounted ConfigMap changes: a link to a directory is replaced; and files that are links."""
    for version in ("1", "2"):
        write(tmp_path / "versions" / version / "app.py", version)()
    (tmp_path / "data").symlink_to("versions/1")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "app.toml").symlink_to(tmp_path / "versions" / "1" / "app.py")

    def retarget() -> None:
        (tmp_path / "data.new").symlink_to("versions/2")
        (tmp_path / "data.new").rename(tmp_path / "data")

    async with watching(tmp_path, "data", "conf") as supervisor:
        await supervisor.expect("a", retarget)
        await supervisor.expect("a", write(tmp_path / "versions" / "2" / "app.py", "3"))
        await supervisor.expect("a", write(tmp_path / "versions" / "1" / "app.py", "changed"))


async def test_the_manifest_is_applied_whatever_happens_to_sources_and_to_itself(tmp_path: Path) -> None:
    """It is saved by replacing it, it is a link into another directory, and the sources vanish."""
    (tmp_path / "src").mkdir()
    async with watching(tmp_path, "src", watch=True) as supervisor:
        manifest = tmp_path / "supervisor.toml"
        text = manifest.read_text()
        shutil.rmtree(tmp_path / "src")
        for number in range(1, 3):
            write(tmp_path / "new.toml", text + "\n" * number)()
            (tmp_path / "new.toml").rename(manifest)
            await soon(lambda: supervisor.applied == number)  # noqa: B023
        (tmp_path / "elsewhere").mkdir()
        manifest.rename(tmp_path / "elsewhere" / "supervisor.toml")
        manifest.symlink_to(tmp_path / "elsewhere" / "supervisor.toml")
        await soon(lambda: supervisor.applied > 2)
        adopted, supervisor.manifest_adopted = supervisor.manifest_adopted, CancelEvent()
        adopted.set()
        applied = supervisor.applied
        # Until the link has been seen, a change of its target causes no event.
        number = 0
        while supervisor.applied == applied:
            number += 1
            write(tmp_path / "elsewhere" / "supervisor.toml", text + "\n" * number)()
            await trio.sleep(0.05)


async def test_events_that_the_kernel_dropped_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread: looking at thousands of directories would stop the whole supervisor for that long."""
    from minikube.linux.inotify import IN_Q_OVERFLOW, Inotify, InotifyEvent

    looked_in: set[threading.Thread] = set()
    files_in = directory_watcher.files_in

    def note_thread(paths: Iterable[Path]) -> frozenset[Path]:
        looked_in.add(threading.current_thread())
        return files_in(paths)

    monkeypatch.setattr(directory_watcher, "files_in", note_thread)
    write(tmp_path / "src" / "a.py")()
    read = Inotify.read
    monkeypatch.setattr(Inotify, "read", lambda self: read(self) and [InotifyEvent(-1, IN_Q_OVERFLOW, "")])
    async with watching(tmp_path, "src") as supervisor:
        await supervisor.expect("a", write(tmp_path / "src" / "a.py", "1"))
        monkeypatch.undo()
    assert looked_in
    assert threading.main_thread() not in looked_in


LIMITED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import trio
from tests.unit.supervisor.reconcile.watch import test_directory_watcher as here
here.directory_watcher.POLL_S = 0.05
Path("/proc/sys/user/max_inotify_{kind}").write_text("{limit}")

async def main():
    place = Path(sys.argv[1])
    for name in ("one", "two", "three", "four"):
        (place / "src" / name).mkdir(parents=True)
    async with here.watching(place, "src") as supervisor:
        for name in ("one", "two", "three", "four"):
            await supervisor.expect("a", here.write(place / "src" / name / "a.py", name))
    print(*supervisor.events("watch.failed"), sep="\\n")

trio.run(main)
"""


@pytest.mark.parametrize(("kind", "limit"), [("watches", 2), ("instances", 0)])
def test_beyond_the_limits_of_inotify_directories_are_looked_at_and_it_is_said_once(
    tmp_path: Path, kind: str, limit: int, as_root: None
) -> None:
    """A user namespace has limits of its own, so that none of this machine has to be lowered."""
    code = LIMITED.format(kind=kind, limit=limit, root=str(Path(__file__).parents[5]))
    done = subprocess.run(
        ["unshare", "-U", "-r", sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    if "unshare failed" in done.stderr or "Read-only file system" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    assert f"user.max_inotify_{kind} ({limit}) is reached — raise it with sysctl" in line
    assert "at every second instead of being watched" in line
