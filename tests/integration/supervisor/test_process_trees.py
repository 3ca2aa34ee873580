"""Process trees are ended whole, and limits hold: with control groups where those can be made, and without. Real processes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import trio

from minikube.errors import ResourceExhausted
from minikube.linux import processes
from minikube.linux.cgroup import Group, ProjectGroups, find_hierarchies, group_name, remove_all
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import Launch
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process import process_table as table_module
from minikube.supervisor.runtime.process import usage as sampler
from minikube.supervisor.runtime.process.fork_client import ProcessStart
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process_table import ProcessTable
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
"""Nine processes: three have left the session and their parent, two ignore TERM."""


@pytest.fixture(params=["groups", "walk"])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProjectGroups | None]:
    made = ProjectGroups(tmp_path, ("memory", "pids")) if request.param == "groups" else None
    if made is not None:
        probe = made.create("probe", {})
        if probe is None:
            pytest.skip("no control group can be made here")
        probe.remove()
    yield made
    if made is not None:
        remove_all(tmp_path)
        assert not (tmp_path / "cgroups").exists(), "an empty group stayed behind"


def marked(mark: str) -> list[int]:
    """Return the pids of the processes with the mark on their command line."""
    found = []
    for stat in processes.scan_processes():
        try:
            words = Path(f"/proc/{stat.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if stat.is_alive and mark.encode() in words:
            found.append(stat.pid)
    return found


class Supervisor:
    """Starts commands and reaps orphans as the supervisor does."""

    def __init__(self, groups: ProjectGroups | None, nursery: trio.Nursery, directory: Path) -> None:
        self.process_table = ProcessTable(groups)
        self.warnings: list[str] = []
        self._runtime = ProcessRuntime(self.process_table, self._environment, self._warn, PortAllocator())
        self._nursery = nursery
        self._directory = directory
        nursery.start_soon(self._reap_children)

    async def start(self, *argv: str, **fields: object) -> LocalProcess:
        spec = ServiceSpec("x", self._directory, argv, **fields)  # type: ignore[arg-type]
        return await self._runtime.start(Launch(spec, "0badcafe", "x"))

    async def _reap_children(self) -> None:
        try:
            await self.process_table.reap_children()
        finally:
            self.process_table.close()

    def _environment(self, spec: ServiceSpec) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]}

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        self.warnings.append(text)


async def test_each_signal_to_an_instance_is_logged_at_the_level_debug(
    groups: ProjectGroups | None, subreaper: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "minikube")
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        process = await supervisor.start("sleep", "600")
        assert await process.send_signal(signal.SIGCONT)
        with trio.fail_after(30):
            await process.end(signal.SIGTERM, 10)
            await process.exited.wait()
        process.close()
        nursery.cancel_scope.cancel()
    for name in ("CONT", "TERM"):
        assert f"0badcafe: sent signal {name} to pid {process.pid}" in caplog.text


async def test_a_whole_tree_is_ended_and_killed_processes_are_named(
    groups: ProjectGroups | None, subreaper: None, tmp_path: Path
) -> None:
    mark = f"6{os.getpid()}"
    # Without a known environment, session and parent, only the control group shows the owner.
    env = "{}" if groups else "os.environ"
    (tmp_path / "nine.py").write_text(NINE.replace("MARK", mark).replace("ENV", env))
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        process = await supervisor.start(sys.executable, "nine.py")
        await trio.lowlevel.wait_readable(process.stdout)
        await soon(lambda: len(marked(mark)) == 8)
        assert len(process.describe_alive()) == 9
        with trio.fail_after(30):
            killed = await process.end(signal.SIGTERM, 0.3)
            await process.exited.wait()
        assert len(killed) == 2
        assert all("(sleep)" in one for one in killed)
        assert marked(mark) == []
        process.close()
        nursery.cancel_scope.cancel()


async def test_a_helpers_whole_tree_is_killed_at_its_timeout_and_its_output_is_kept(
    groups: ProjectGroups | None, subreaper: None, tmp_path: Path
) -> None:
    mark = f"7{os.getpid()}"
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        process = await supervisor.start("sleep", "600", limits={"nofile": 77})
        ran = await process.run(("sh", "-c", "ulimit -n"), 5.0)
        assert ran.output == "77\n", "a helper has the limits of its instance"
        script = f"echo asked; setsid sleep {mark} & sleep {mark}"
        ran = await process.run(("sh", "-c", script), 0.5)
        assert (ran.exit, ran.output) == (None, "asked\n")
        await soon(lambda: marked(mark) == [], what="the end of the processes that got KILL")
        ran = await process.run(("sh", "-c", f"seq 9000; setsid sleep {mark} & echo $INSTANCE_ID; exit 3"), 5.0)
        assert str(ran.exit) == "exit 3"
        assert len(ran.output) <= 4096
        assert "0badcafe" in ran.output
        await soon(lambda: marked(mark) == [], what="the end of the processes that got KILL")
        assert process.exit is None, "the instance itself must go on"
        await process.end(signal.SIGTERM, 5.0)
        await process.exited.wait()
        process.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("groups", ["groups"], indirect=True)
async def test_a_limit_is_enforced_or_a_warning_reports_that_it_is_not(
    groups: ProjectGroups, subreaper: None, tmp_path: Path
) -> None:
    """Root has v1 controllers; a v2 controller is there only where it has been delegated."""
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        script = "data = bytearray(300_000_000); print(len(data))"
        process = await supervisor.start(sys.executable, "-c", script, limits={"memory": 64 << 20})
        with trio.fail_after(20):
            await process.exited.wait()
        if supervisor.warnings and "memory" not in find_hierarchies()[1]:
            unable = "limits.memory is not enforced: the memory controller is not there, or not delegated to this user"
            assert (supervisor.warnings, str(process.exit)) == ([unable], "exit 0")
        else:
            assert (supervisor.warnings, str(process.exit)) == ([], "signal KILL (out of memory, limits.memory)")
        process.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("groups", ["groups"], indirect=True)
async def test_limits_hold_from_the_first_instruction(groups: ProjectGroups, subreaper: None, tmp_path: Path) -> None:
    """A child that leaves the session immediately, before the supervisor can look at it, is limited too."""
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        for _ in range(20):
            script = "setsid -f sh -c 'cat /proc/self/cgroup; echo end'"
            process = await supervisor.start("sh", "-c", script, limits={"pids": 100})
            output = b""
            while b"end" not in output:
                await trio.lowlevel.wait_readable(process.stdout)
                output += os.read(process.stdout, 4096)
            groups_of_output = [
                line for line in output.decode().splitlines() if line.startswith("0::") or ":pids:" in line
            ]
            assert not [line for line in groups_of_output if "/minikube-" not in line]
            await process.end(signal.SIGKILL, 0.0)
            await process.exited.wait()
            process.close()
        nursery.cancel_scope.cancel()


async def test_a_process_that_was_seen_in_a_tree_still_belongs_to_it_after_leaving_it(
    subreaper: None, tmp_path: Path
) -> None:
    """Without control groups: no environment, session or parent shows the owner, but an earlier walk found it."""
    mark = f"7{os.getpid()}"
    script = f"(setsid env -i /bin/sleep {mark} & wait) & echo $!; wait; exec sleep 600"
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(None, nursery, tmp_path)
        process = await supervisor.start("sh", "-c", script)
        await trio.lowlevel.wait_readable(process.stdout)
        between = int(os.read(process.stdout, 64))
        await soon(lambda: len(marked(mark)) == 1)
        (hidden,) = marked(mark)
        for _ in range(3):
            owners, *_ = sampler._walk(supervisor.process_table.roots, supervisor.process_table.seen, os.getpid())
            assert owners[hidden] == "0badcafe"
            supervisor.process_table.note_owners(owners)
            processes.send_signal(between, signal.SIGKILL)
            await soon(lambda: processes.read_stat(between) is None)
        await process.end(signal.SIGKILL, 0.0)
        await process.exited.wait()
        assert marked(mark) == []
        await soon(lambda: processes.read_stat(hidden) is None)  # reaped
        supervisor.process_table.note_owners({})
        assert hidden not in supervisor.process_table.seen
        process.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("groups", ["groups"], indirect=True)
async def test_a_tree_is_killed_by_its_control_group_at_once(
    groups: ProjectGroups, subreaper: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal for each process comes too late for trees that fork faster than they are walked."""
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        process = await supervisor.start("sh", "-c", "trap '' TERM; sleep 600 & sleep 600 & echo grown; wait")
        await trio.lowlevel.wait_readable(process.stdout)
        monkeypatch.setattr(processes, "kill_all", lambda pids: [])
        with trio.fail_after(30):
            killed = await process.end(signal.SIGTERM, 0.0)
            await process.exited.wait()
        assert len(killed) == 3
        process.close()
        nursery.cancel_scope.cancel()


def test_each_start_has_a_control_group_of_its_own(tmp_path: Path) -> None:
    groups = ProjectGroups(tmp_path)
    first, second = groups.create("0badcafe", {}), groups.create("0badcafe", {})
    if first is None or second is None:
        pytest.skip("no control group can be made here")
    assert first.remove()
    with subprocess.Popen(["sleep", "600"]) as process:
        second.add(process.pid)
        assert second.members() == [process.pid]
        second.kill()
        process.wait()
    assert second.remove()
    remove_all(tmp_path)


def is_alone(group: Group, pid: int) -> bool:
    return group.members() == [pid]


def unified_group(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1]


async def test_the_fork_server_joins_the_group_of_the_next_start_and_leaves_it_with_that_start(
    subreaper: None, tmp_path: Path
) -> None:
    """Processes with limits, and without groups, start as ever in the meantime. No group and no process stays behind."""
    groups = ProjectGroups(tmp_path, ("pids",))
    if (probe := groups.create("probe", {})) is None or not probe.unified:
        pytest.skip("no control group can be made here")
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(groups, nursery, tmp_path)
        table = supervisor.process_table

        async def is_joined() -> Group:
            await soon(lambda: table._next_group is not None and table._next_group.members())
            assert table._next_group is not None
            return table._next_group

        started = [await supervisor.start("sleep", "600")]
        for _ in range(3):
            joined = await is_joined()
            started.append(await supervisor.start("sleep", "600", limits={"pids": 50}))
            assert table._next_group is joined
            started.append(await supervisor.start("sleep", "600"))
            pid = started[-1].pid
            await soon(partial(is_alone, joined, pid))
        joined = await is_joined()
        table._groups = None
        table._next_group = None
        started.append(await supervisor.start("sleep", "600"))
        # It is born outside the group, and so survives its end.
        assert unified_group(started[-1].pid) == unified_group(os.getpid())
        table._groups = groups
        joined.kill()
        await soon(joined.remove)
        started.append(await supervisor.start("sleep", "600"))
        await is_joined()
        for process in started:
            await process.end(signal.SIGKILL, 0.0)
            await process.exited.wait()
            process.close()
        nursery.cancel_scope.cancel()
    await soon(lambda: remove_all(tmp_path))


def test_groups_are_removed_after_the_project_directory_was_deleted(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    name, groups = group_name(directory), ProjectGroups(directory)
    if groups.create("0badcafe", {}) is None:
        pytest.skip("no control group can be made here")
    unified, _ = find_hierarchies()
    assert unified is not None
    assert (unified / name / "0badcafe.1").exists()
    shutil.rmtree(directory)
    assert remove_all(directory, name)
    assert not (unified / name).exists()


async def test_a_limit_that_nothing_enforces_is_a_warning(subreaper: None, tmp_path: Path) -> None:
    unable = ProjectGroups(tmp_path)
    remove_all(tmp_path)
    unable._unified, unable._legacy = None, {}
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(unable, nursery, tmp_path)
        process = await supervisor.start("sleep", "600", limits={"pids": 50})
        assert supervisor.warnings == [
            "limits.pids is not enforced: the pids controller is not there, or not delegated to this user",
        ]
        await process.end(signal.SIGKILL, 0.0)
        await process.exited.wait()
        process.close()
        nursery.cancel_scope.cancel()


def dead_child() -> int:
    """Return the pid of a zombie."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


async def test_an_orphan_that_dies_during_a_start_is_reaped_after_it(tmp_path: Path, idle_table: ProcessTable) -> None:
    dead = dead_child()
    async with trio.open_nursery() as nursery:
        process = await idle_table.start(Command(("true",), {}, tmp_path))
        assert processes.read_stat(dead) is None
        nursery.start_soon(idle_table.reap_children)
        await process.wait_exit()
        idle_table.forget(process)
        nursery.cancel_scope.cancel()


async def test_an_exit_before_the_start_completes_is_known_although_other_starts_are_under_way(
    subreaper: None, tmp_path: Path, idle_table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_until = table_module._read_until

    async def wait_dead(start: ProcessStart, is_enough: Callable[[ProcessStart], bool]) -> None:
        await read_until(start, is_enough)
        while not ((stat := processes.read_stat(start.pid)) and stat.state == "Z" and stat.parent == os.getpid()):
            await trio.sleep(0.001)

    monkeypatch.setattr(table_module, "_read_until", wait_dead)
    idle_table._starting += 1  # the other start
    with trio.fail_after(10):
        process = await idle_table.start(Command(("true",), dict(os.environ), tmp_path))
    assert process.exit == Exit(0)
    idle_table.forget(process)


async def test_a_start_without_descriptors_raises_resource_exhausted(
    tmp_path: Path, idle_table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe2", refuse)
    with pytest.raises(ResourceExhausted, match="cannot start true: Too many open files — trying again"):
        await idle_table.start(Command(("true",), {}, tmp_path))


async def test_reaping_goes_on_after_a_start_that_could_not_make_its_group(subreaper: None, tmp_path: Path) -> None:
    class Full(ProjectGroups):
        def create(self, owner: str, limits: Mapping[str, int | float]) -> Group | None:
            raise OSError(errno.ENOSPC, "No space left on device")

    groups = Full(tmp_path)
    process_table = ProcessTable(groups)
    with pytest.raises(ResourceExhausted):
        await process_table.start(Command(("true",), {}, tmp_path))
    remove_all(tmp_path)
    dead = dead_child()
    process_table.reap()
    assert processes.read_stat(dead) is None
