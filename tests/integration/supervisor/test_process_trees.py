"""Whole trees of real processes end: in their control groups where those can be made, and without them."""

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio

from minikube.errors import ResourceExhausted
from minikube.linux import processes as tree
from minikube.linux.cgroup import Group, Groups, find_hierarchies, group_name, remove_all
from minikube.linux.ports import PortAllocator
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.interface import Launch
from minikube.supervisor.runtime.process import usage as sampler
from minikube.supervisor.runtime.process.process import Command, ProcessTable
from minikube.supervisor.runtime.process.runtime import LocalProcess, ProcessRuntime
from tests.eventually import soon

NINE = """
import os, signal, time

def child(leave, deaf):
    if os.fork() == 0:
        if leave:
            os.setsid()
            if os.fork():
                os._exit(0)
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execve("/bin/sleep", ["sleep", "MARK"], ENV)

for number in range(8):
    child(leave=number in (1, 2, 3), deaf=number in (3, 4))
print("grown", flush=True)
time.sleep(600)
"""
"""Nine processes: three left the session and their parent, two are deaf to TERM."""


@pytest.fixture(params=["groups", "walk"])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Groups | None]:
    made = Groups(tmp_path, ("memory", "pids")) if request.param == "groups" else None
    if made is not None and not made.can_kill:
        pytest.skip("no control group can be made here")
    yield made
    if made is not None:
        made.close()
        assert not (tmp_path / "cgroups").exists(), "an empty group stayed behind"


@pytest.fixture
def heir() -> Iterator[None]:
    """This process inherits orphans, as the supervisor does."""
    tree.become_subreaper()
    yield
    ctypes.CDLL(None).prctl(tree.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def marked(mark: str) -> list[int]:
    """Who sleeps that long."""
    found = []
    for one in tree.scan():
        try:
            words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if one.alive and mark.encode() in words:
            found.append(one.pid)
    return found


class Home:
    """Starts commands as the supervisor does, and reaps what it inherits."""

    def __init__(self, groups: Groups | None, nursery: trio.Nursery, directory: Path) -> None:
        self.household = ProcessTable(groups)
        self.warnings: list[str] = []
        self._runtime = ProcessRuntime(self.household, self._environment, self._warn, PortAllocator())
        self._nursery = nursery
        self._directory = directory

    async def start(self, *argv: str, **fields: object) -> LocalProcess:
        spec = ServiceSpec("x", self._directory, argv, **fields)  # type: ignore[arg-type]
        process = await self._runtime.start(Launch(spec, "0badcafe", "x"))
        self._nursery.start_soon(process.watch)
        return process

    def _environment(self, spec: ServiceSpec) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]}

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        self.warnings.append(text)

    async def reap(self) -> None:
        with trio.open_signal_receiver(signal.SIGCHLD) as received:
            async for _ in received:
                self.household.reap()


async def test_nothing_of_a_tree_is_left_and_who_had_to_be_killed_is_named(
    groups: Groups | None, heir: None, tmp_path: Path
) -> None:
    mark = f"6{os.getpid()}"
    # Without an environment, a session and a parent of its own, only the group still knows whose it is.
    env = "{}" if groups else "os.environ"
    (tmp_path / "nine.py").write_text(NINE.replace("MARK", mark).replace("ENV", env))
    async with trio.open_nursery() as nursery:
        home = Home(groups, nursery, tmp_path)
        nursery.start_soon(home.reap)
        process = await home.start(sys.executable, "nine.py")
        await trio.lowlevel.wait_readable(process.stdout)
        await soon(lambda: len(marked(mark)) == 8)
        assert len(process.holders()) == 9
        with trio.fail_after(30):
            killed = await process.end(signal.SIGTERM, 0.3)
            await process.exited.wait()
        assert len(killed) == 2
        assert all("(sleep)" in one for one in killed)
        assert marked(mark) == []
        process.close()
        nursery.cancel_scope.cancel()


async def test_a_helpers_whole_tree_is_killed_at_its_time_out_and_what_it_said_is_kept(
    groups: Groups | None, heir: None, tmp_path: Path
) -> None:
    mark = f"7{os.getpid()}"
    async with trio.open_nursery() as nursery:
        home = Home(groups, nursery, tmp_path)
        nursery.start_soon(home.reap)
        process = await home.start("sleep", "600")
        script = f"echo asked; setsid sleep {mark} & sleep {mark}"
        ran = await process.run(("sh", "-c", script), 0.5)
        assert (ran.exit, ran.output) == (None, "asked\n")
        assert marked(mark) == []
        ran = await process.run(("sh", "-c", f"seq 9000; setsid sleep {mark} & echo $INSTANCE_ID; exit 3"), 5.0)
        assert str(ran.exit) == "exit 3"
        assert len(ran.output) <= 4096
        assert "0badcafe" in ran.output
        assert marked(mark) == []
        assert process.exit is None, "the instance itself has nothing to do with it"
        await process.end(signal.SIGTERM, 5.0)
        await process.exited.wait()
        process.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("groups", ["groups"], indirect=True)
async def test_a_limit_holds_or_is_said_not_to(groups: Groups, heir: None, tmp_path: Path) -> None:
    """A v1 controller is there for root; one of v2 only where it has been delegated."""
    async with trio.open_nursery() as nursery:
        home = Home(groups, nursery, tmp_path)
        script = "data = bytearray(300_000_000); print(len(data))"
        process = await home.start(sys.executable, "-c", script, limits={"memory": 64 << 20})
        with trio.fail_after(20):
            await process.exited.wait()
        if home.warnings and "memory" not in find_hierarchies()[1]:
            unable = "limits.memory is not enforced: the memory controller is not there, or not delegated to us"
            assert (home.warnings, str(process.exit)) == ([unable], "exit 0")
        else:
            assert (home.warnings, str(process.exit)) == ([], "signal KILL (out of memory, limits.memory)")
        process.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("groups", ["groups"], indirect=True)
async def test_limits_hold_from_the_first_instruction(groups: Groups, heir: None, tmp_path: Path) -> None:
    """Who leaves the session at once, and is nobody's child by the time we could look, is limited like the rest."""
    async with trio.open_nursery() as nursery:
        home = Home(groups, nursery, tmp_path)
        for _ in range(20):
            script = "setsid -f sh -c 'cat /proc/self/cgroup; echo end'"
            process = await home.start("sh", "-c", script, limits={"pids": 100})
            said = b""
            while b"end" not in said:
                await trio.lowlevel.wait_readable(process.stdout)
                said += os.read(process.stdout, 4096)
            places = [line for line in said.decode().splitlines() if line.startswith("0::") or ":pids:" in line]
            assert not [line for line in places if "/minikube-" not in line]
            await process.end(signal.SIGKILL, 0.0)
            await process.exited.wait()
            process.close()
        nursery.cancel_scope.cancel()


async def test_who_hid_after_being_seen_still_belongs_to_its_tree(heir: None, tmp_path: Path) -> None:
    """Without control groups: no environment, no session, no parent; but the sampler saw it below its parent."""
    mark = f"7{os.getpid()}"
    script = f"(setsid env -i /bin/sleep {mark} & wait) & echo $!; wait; exec sleep 600"
    async with trio.open_nursery() as nursery:
        home = Home(None, nursery, tmp_path)
        nursery.start_soon(home.reap)
        process = await home.start("sh", "-c", script)
        await trio.lowlevel.wait_readable(process.stdout)
        between = int(os.read(process.stdout, 64))
        await soon(lambda: len(marked(mark)) == 1)
        (hidden,) = marked(mark)
        for _ in range(3):
            owners, *_ = sampler._walk(home.household.roots, home.household.seen, os.getpid())
            assert owners[hidden] == "0badcafe"
            home.household.usage(owners)
            tree.send(between, signal.SIGKILL)
            await soon(lambda: tree.stat(between) is None)
        await process.end(signal.SIGKILL, 0.0)
        await process.exited.wait()
        assert marked(mark) == []
        await soon(lambda: tree.stat(hidden) is None)  # reaped
        home.household.usage({})
        assert hidden not in home.household.seen
        process.close()
        nursery.cancel_scope.cancel()


def test_a_new_life_has_a_group_of_its_own(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    first, second = groups.make("0badcafe", {}), groups.make("0badcafe", {})
    if first is None or second is None:
        pytest.skip("no control group can be made here")
    assert first.remove()
    with subprocess.Popen(["sleep", "600"]) as process:
        second.add(process.pid)
        assert second.members() == [process.pid]
        second.kill()
        process.wait()
    assert second.remove()
    groups.close()


def test_groups_are_removed_though_the_projects_directory_is_gone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    name, groups = group_name(state), Groups(state)
    if groups.make("0badcafe", {}) is None:
        pytest.skip("no control group can be made here")
    unified, _ = find_hierarchies()
    assert unified is not None
    assert (unified / name / "0badcafe.1").exists()
    shutil.rmtree(state)
    assert remove_all(state, name)
    assert not (unified / name).exists()


async def test_a_limit_that_nothing_enforces_is_a_warning(heir: None, tmp_path: Path) -> None:
    unable = Groups(tmp_path)
    unable.close()
    unable._unified, unable._legacy = None, {}
    async with trio.open_nursery() as nursery:
        home = Home(unable, nursery, tmp_path)
        process = await home.start("sleep", "600", limits={"pids": 50})
        assert home.warnings == [
            "limits.pids is not enforced: the pids controller is not there, or not delegated to us",
        ]
        await process.end(signal.SIGKILL, 0.0)
        await process.exited.wait()
        process.close()
        nursery.cancel_scope.cancel()


def dead_child() -> int:
    """A process that nobody has reaped yet."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


async def test_what_dies_while_another_starts_is_reaped_after_it(heir: None, tmp_path: Path) -> None:
    dead, household = dead_child(), ProcessTable()
    process = await household.start(Command(("true",), {}, tmp_path))
    assert tree.stat(dead) is None
    await process.watch()
    household.forget(process)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_a_start_that_finds_no_thread_is_for_want_of_one(
    heir: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    monkeypatch.setattr(trio.to_thread, "run_sync", refuse)
    with pytest.raises(ResourceExhausted):
        await ProcessTable().start(Command(("true",), {}, tmp_path))


async def test_a_start_that_finds_no_group_does_not_end_the_reaping(heir: None, tmp_path: Path) -> None:
    class Full(Groups):
        def make(self, owner: str, limits: Mapping[str, int | float]) -> Group | None:
            raise OSError(errno.ENOSPC, "No space left on device")

    groups = Full(tmp_path)
    household = ProcessTable(groups)
    with pytest.raises(ResourceExhausted):
        await household.start(Command(("true",), {}, tmp_path))
    groups.close()
    dead = dead_child()
    household.reap()
    assert tree.stat(dead) is None
