"""The embedded Redis is shown as well only while it works, and is started again where its socket is gone. A real Redis."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from minikube.control.state_store import StateStore
from minikube.model import CheckState, PartView, ProcessState
from minikube.project.redis_socket import find_redis_socket, remove_redis_socket
from minikube.supervisor.backing import redis_ping, service
from minikube.supervisor.backing.redis import redis_spec
from minikube.supervisor.backing.service import BackingService
from minikube.supervisor.backing.spec import backing_command
from minikube.supervisor.backing.startup import start_redis
from minikube.supervisor.context import RunContext
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import eventually
from tests.redis_server import server_command


class RunningRedis:
    """The embedded Redis of a project in `directory`."""

    def __init__(self, directory: Path, store: StateStore, backing: BackingService) -> None:
        self.directory = directory
        self.store = store
        self.backing = backing

    @property
    def part(self) -> PartView:
        return self.store.snapshot.parts[0]

    @property
    def socket(self) -> Path:
        return find_redis_socket(self.directory)

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    async def wait(self, state: ProcessState, check: CheckState, restarts: int = 0) -> PartView:
        with trio.fail_after(30):
            await self.store.wait_for(
                lambda _: (self.part.state, self.part.check, self.part.restarts) == (state, check, restarts)
            )
        return self.part

    @property
    def events(self) -> list[str]:
        return [f"{event.kind}: {event.message}" for event in self.store.events_since(0)]


@pytest.fixture(autouse=True)
def _children_of_fork_servers(subreaper: None) -> None:
    """Make the processes that a fork server starts children of this process."""


@pytest.fixture(autouse=True)
def _fast_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(service, "RETRY_INTERVAL_S", 0.05)


@asynccontextmanager
async def running_redis(project: Path) -> AsyncIterator[RunningRedis]:
    directory = project / ".minikube"
    directory.mkdir(mode=0o700)
    store, table = StateStore("test"), ProcessTable()
    context = RunContext(directory, LaunchOptions(), store, table, "127.0.0.1:1")
    spec = redis_spec(directory, {**os.environ, "MINIKUBE_REDIS_SERVER": server_command()})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.reap_children)
        backing = await start_redis(spec, context, nursery, await table.start(backing_command(spec)))
        try:
            yield RunningRedis(directory, store, backing)
        finally:
            with trio.CancelScope(shield=True):
                await backing.stop()
                nursery.cancel_scope.cancel()
            remove_redis_socket(directory)
    table.close()
    context.logs.writer.close(5.0)


async def test_a_suspended_redis_is_not_well_and_is_well_again_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_redis(tmp_path) as running:
        well = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        monkeypatch.setattr(redis_ping, "PING_TIMEOUT_S", 0.2)
        os.kill(well.pid, signal.SIGSTOP)
        hung = await running.wait(ProcessState.RUNNING, CheckState.CRITICAL)
        os.kill(well.pid, signal.SIGCONT)
        assert hung.detail == f"does not answer: its process is suspended — resume it with `kill -CONT {well.pid}`"
        assert (hung.pid, hung.since, hung.is_well) == (well.pid, well.since, False), "it is the same process"
        again = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        assert (again.detail, again.pid) == ("", well.pid)
        assert running.events == [f"redis.unresponsive: redis {hung.detail}", "redis.responsive: redis answers again"]


async def test_a_redis_that_refuses_is_not_well(tmp_path: Path) -> None:
    """For example while the disk is full; here it takes one client only, which is the test."""
    async with running_redis(tmp_path) as running:
        await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        with running.client() as client:
            client.config_set("maxclients", 1)
            refusing = await running.wait(ProcessState.RUNNING, CheckState.CRITICAL)
            assert refusing.detail == "answers: ERR max number of clients reached"
            client.config_set("maxclients", 100)
            await running.wait(ProcessState.RUNNING, CheckState.PASSING)


async def test_what_another_part_reports_is_shown_also_after_a_restart(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as running:
        first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        running.backing.report("registry", "the registry cannot use it: no memory")
        assert (await running.wait(ProcessState.RUNNING, CheckState.CRITICAL)).detail.endswith("no memory")
        os.kill(first.pid, signal.SIGKILL)
        assert (await running.wait(ProcessState.RUNNING, CheckState.CRITICAL, 1)).detail.endswith("no memory")
        running.backing.report("registry", "")
        await running.wait(ProcessState.RUNNING, CheckState.PASSING, 1)


def remove(running: RunningRedis) -> None:
    running.socket.unlink()


def remove_directory(running: RunningRedis) -> None:
    shutil.rmtree(running.socket.parent)
    (running.directory / "redis.sock").unlink()


def take_over(running: RunningRedis) -> None:
    """Another server takes the path, and clients would get its data."""
    own = running.socket.parent / "other.sock"
    server = [server_command(), "--port", "0", "--unixsocket", str(own), "--save", "", "--dir", str(running.directory)]
    strangers.append(subprocess.Popen(server, stdout=subprocess.DEVNULL))
    eventually(own.exists)
    own.replace(running.socket)  # at once: there is a socket at any time


strangers: list["subprocess.Popen[bytes]"] = []


@pytest.mark.parametrize("damage", [remove, remove_directory, take_over])
async def test_a_redis_whose_socket_is_gone_is_started_again_with_its_data(tmp_path: Path, damage: Any) -> None:
    try:
        async with running_redis(tmp_path) as running:
            first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
            with running.client() as connected:
                connected.set("stock", "7")
                damage(running)
                second = await running.wait(ProcessState.RUNNING, CheckState.PASSING, 1)
            assert second.pid != first.pid
            with running.client() as client:
                assert client.get("stock") == b"7", "Redis was ended by a signal that lets it save its data"
            assert ["its socket" in event for event in running.events] == [True, False], running.events
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
        strangers.clear()


def remove_all(running: RunningRedis) -> None:
    shutil.rmtree(running.directory, ignore_errors=True)  # a log may be made again meanwhile


def remove_data(running: RunningRedis) -> None:
    shutil.rmtree(running.directory / "redis")


def remove_content(running: RunningRedis) -> None:
    shutil.rmtree(running.directory / "redis" / "appendonlydir")


def move_data(running: RunningRedis) -> None:
    (running.directory / "redis").rename(running.directory / "elsewhere")


def put_back_a_copy(running: RunningRedis) -> None:
    """It is older than what Redis has."""
    shutil.copytree(running.directory / "redis", running.directory / "copy")
    shutil.rmtree(running.directory / "redis")
    (running.directory / "copy").rename(running.directory / "redis")


@pytest.mark.parametrize("damage", [remove_all, remove_data, remove_content, move_data, put_back_a_copy])
async def test_a_redis_whose_data_were_removed_keeps_each_acknowledged_write(tmp_path: Path, damage: Any) -> None:
    """Its data are on disk again before it is started again, with all that was written until then. A client writes all the time."""
    acknowledged = 0
    damaged, over = threading.Event(), threading.Event()

    def write() -> None:
        nonlocal acknowledged
        with running.client() as client, contextlib.suppress(redis.ConnectionError):
            client.set("before", "x" * 300_000, ex=1_000)
            while not over.is_set():
                client.incr("count")
                acknowledged += 1
                if acknowledged == 100:
                    damage(running)
                    damaged.set()

    async with running_redis(tmp_path) as running:
        first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write)
            second = await running.wait(ProcessState.RUNNING, CheckState.PASSING, 1)
            over.set()
        assert second.pid != first.pid
        with running.client() as client:
            assert acknowledged > 100
            assert int(client.get("count") or 0) in (acknowledged, acknowledged + 1)
            assert client.strlen("before") == 300_000
            assert 0 < client.ttl("before") <= 1_000
            client.set("after", "1")
            # Redis acknowledges before it writes while the disk is busy with the second before.
            client.execute_command("WAITAOF", 1, 0, 30_000)
        [event] = [event for event in running.events if event.startswith("redis.data_rescued")]
        assert f"all data was written again to {running.directory / 'redis'}" in event
        assert not [event for event in running.events if "starts empty" in event], running.events
        os.kill(second.pid, signal.SIGKILL)
        await running.wait(ProcessState.RUNNING, CheckState.PASSING, 2)
        with running.client() as client:
            assert client.exists("count", "before", "after") == 3
    assert not list(running.directory.glob("*.rescued"))


async def test_data_that_cannot_be_written_again_are_not_given_up(tmp_path: Path) -> None:
    """The reason is shown, writes go on, and the next try writes the data."""
    async with running_redis(tmp_path) as running:
        first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        with running.client() as client:
            client.set("stock", "7")
            (running.directory / "redis.rescued").write_text("in the way")
            remove_data(running)
            hung = await running.wait(ProcessState.RUNNING, CheckState.CRITICAL)
            assert hung.pid == first.pid
            assert hung.detail.endswith("was removed, and cannot be written again: File exists")
            client.set("stock", "8")
        (running.directory / "redis.rescued").unlink()
        await running.wait(ProcessState.RUNNING, CheckState.PASSING, 1)
        with running.client() as client:
            assert client.get("stock") == b"8"


@pytest.mark.parametrize("another", [False, True], ids=["", "another project at its path"])
async def test_a_redis_of_a_project_that_was_moved_keeps_running(any_length: Path, another: bool) -> None:
    """A new process would begin without data, in the old place. Where its path is long, its socket is not in it, and serves on."""
    (project := any_length / "project").mkdir()
    async with running_redis(project) as running:
        first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        socket, moved = running.socket, any_length / "moved"
        with running.client() as connected:
            connected.set("stock", "7")
        project.rename(moved)
        if another:
            project.mkdir()
        away = f"{project} was moved or removed — move it back"
        if project in socket.parents:
            lost = await running.wait(ProcessState.RUNNING, CheckState.CRITICAL)
            assert (lost.pid, lost.detail) == (first.pid, f"cannot be reached: {away}")
        with redis.Redis(unix_socket_path=str(find_redis_socket(moved / ".minikube"))) as client:
            client.incr("stock")
        os.kill(first.pid, signal.SIGKILL)
        with trio.fail_after(30):
            await running.store.wait_for(
                lambda _: running.part.state is ProcessState.BACKOFF and away in running.part.detail
            )
        assert list(project.parent.glob("project/.minikube")) == [], "nothing is written in the old place"
        if another:
            project.rmdir()
        moved.rename(project)
        with trio.fail_after(30):
            await running.store.wait_for(lambda _: running.part.check is CheckState.PASSING)
        with running.client() as client:
            assert client.get("stock") == b"8"


async def test_a_process_that_hangs_is_killed_and_started_again_on_request(tmp_path: Path) -> None:
    """As the supervisor does with its registry; Redis is the process here, which is only shown as hung by itself."""
    async with running_redis(tmp_path) as running:
        first = await running.wait(ProcessState.RUNNING, CheckState.PASSING)
        os.kill(first.pid, signal.SIGSTOP)
        running.backing.restart_hung("does not answer for 14 s")
        second = await running.wait(ProcessState.RUNNING, CheckState.PASSING, 1)
        assert second.pid != first.pid
        assert running.events[-2:] == [
            "redis.down: redis does not answer for 14 s — starting it again",
            "redis.up: redis answers again",
        ]
