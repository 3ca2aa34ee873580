"""What follows from a saved file, with a supervisor that only writes down what is asked of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.reconcile.watch.watcher import SourceWatcher


class Core:
    """Implements what a watcher needs; its builds wait for `built`, and fail while `broken`."""

    def __init__(self) -> None:
        self.board = StateStore("test")
        self.manifest = SimpleNamespace(directory=Path("/shop"), path=Path("/shop/supervisor.toml"))
        self.specs = {"x": None}
        self.asked: list[Any] = []
        self.broken = True
        self.roster = self
        self.built = trio.Event()

    def of(self, name: str) -> list[Any]:
        return [SimpleNamespace(wish=DesiredState())]

    async def rebuild(self, name: str) -> None:
        await self.built.wait()
        self.asked.append("build")
        if self.broken:
            self.broken = False
            raise StartError("cannot build: a typing error")

    async def renew(self, runners: list[Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append("restart")

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("apply", refuse_empty))


async def test_what_was_saved_while_a_build_failed_is_built_as_well() -> None:
    core = Core()
    watcher = SourceWatcher(core, core)  # type: ignore[arg-type]
    watcher._restarting["x"] = {Path("/shop/a.py")}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher._restart, "x")
        await trio.testing.wait_all_tasks_blocked()
        watcher._restarting["x"] |= {Path("/shop/a.py")}  # the mended one
        core.built.set()
    assert core.asked == ["build", "build", "restart"]
    assert watcher._restarting == {}


async def test_a_saved_manifest_is_read_once_by_who_applies_it() -> None:
    core = Core()
    await SourceWatcher(core, core)._apply()  # type: ignore[arg-type]
    assert core.asked == [("apply", True)]
