"""A private Redis that cannot load its data says why and how to go on; a file that only ends badly is mended."""

import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import trio

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.project.redis_socket import find_redis_socket, remove_redis_socket
from minikube.supervisor.backing import embedded_redis
from minikube.supervisor.backing.redis import redis_spec
from minikube.supervisor.backing.redis_data import mend_tail
from minikube.supervisor.backing.redis_program import read_writer
from minikube.supervisor.backing.service import BackingService
from minikube.supervisor.backing.spec import backing_command
from minikube.supervisor.backing.startup import start_redis
from minikube.supervisor.context import RunContext
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import soon
from tests.redis_server import RedisServer


@asynccontextmanager
async def started(directory: Path, store: StateStore) -> AsyncIterator[BackingService]:
    """Start the private Redis of the project whose `.minikube` is `directory`, as the supervisor does."""
    table = ProcessTable()
    context = RunContext(directory, LaunchOptions(), store, table, "127.0.0.1:1")
    spec = redis_spec(directory, os.environ)
    service = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(table.reap_children)
            try:
                service = await start_redis(spec, context, nursery, await table.start(backing_command(spec)))
                yield service
            finally:
                with trio.CancelScope(shield=True):
                    if service is not None:
                        await service.stop()
                nursery.cancel_scope.cancel()
    finally:
        table.close()
        context.logs.writer.close(5.0)
        remove_redis_socket(directory)


@pytest.fixture(autouse=True)
def _as_subreaper(subreaper: None) -> None:
    """Make the processes that a fork server starts children of this process."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The `.minikube` of a project whose Redis has a key."""
    found = tmp_path / ".minikube"
    (found / "redis").mkdir(parents=True)
    with RedisServer(found / "redis") as server:
        server.client().set("stock", "10")
        server.kill(signal.SIGTERM)
    return found


def increment(directory: Path) -> Path:
    (path,) = (directory / "redis" / "appendonlydir").glob("*.incr.aof")
    return path


def texts(store: StateStore, kind: str) -> list[str]:
    return [event.message for event in store.events_since(0) if event.kind == kind]


async def test_zeros_at_the_end_are_moved_away_and_the_data_are_there(directory: Path) -> None:
    with increment(directory).open("r+b") as file:
        file.truncate(increment(directory).stat().st_size + 4096)
    store = StateStore("test")
    assert "the last 4096 bytes" in mend_tail(directory)
    with trio.fail_after(30):
        async with started(directory, store) as service:
            assert service.ready.is_set()
            with redis.Redis(unix_socket_path=str(find_redis_socket(directory))) as client:
                assert client.get("stock") == b"10"
    writer = read_writer(directory / "redis")
    assert writer is not None
    assert writer.version.startswith("valkey ")


async def test_a_restart_mends_the_file_in_a_thread(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ends badly is read whole: reading gigabytes would stop the whole supervisor for seconds."""
    mended_in: list[threading.Thread] = []

    def note_thread(project_dir: Path) -> str:
        mended_in.append(threading.current_thread())
        return mend_tail(project_dir)

    monkeypatch.setattr(embedded_redis, "mend_tail", note_thread)
    async with started(directory, StateStore("p")) as service:
        assert service._process is not None
        service._process.send_signal(signal.SIGKILL)
        with trio.fail_after(30):
            await soon(lambda: bool(mended_in))
    assert threading.main_thread() not in mended_in


async def test_a_command_that_was_cut_is_said(directory: Path) -> None:
    with increment(directory).open("r+b") as file:
        file.truncate(increment(directory).stat().st_size - 4)
    store = StateStore("test")
    with trio.fail_after(30):
        async with started(directory, store):
            assert "was incomplete, as after a power cut, and was cut" in texts(store, "redis.data_mended")[0]


async def test_damage_before_commands_is_reported_with_advice_after_two_failed_starts(directory: Path) -> None:
    path = increment(directory)
    path.write_bytes(b"\0" * 32 + path.read_bytes())
    before = path.read_bytes()
    assert mend_tail(directory) == ""
    store = StateStore("test")
    with trio.fail_after(20):
        with pytest.RaisesGroup(StartError) as caught:
            async with started(directory, store):
                raise AssertionError("it answers")
    text = str(caught.value.exceptions[0])
    assert text.startswith("redis ended: exit 1: Bad file format reading the append only file")
    assert text.endswith(" — start without the data: mv .minikube/redis .minikube/redis.old")
    assert texts(store, "redis.failed") == [text]
    assert path.read_bytes() == before


async def test_data_of_another_program_name_that_program(directory: Path) -> None:
    base = next((directory / "redis" / "appendonlydir").glob("*.base.rdb"))
    base.write_bytes(b"REDIS0099" + base.read_bytes()[9:])
    (directory / "redis" / "written-by.json").write_text('{"program": "/gone/redis-server", "version": "redis 9.9"}')
    with trio.fail_after(20):
        with pytest.RaisesGroup(StartError) as caught:
            async with started(directory, StateStore("test")):
                raise AssertionError("it answers")
    text = str(caught.value.exceptions[0])
    assert "Can't handle RDB format version 99" in text
    assert "redis 9.9 (/gone/redis-server) wrote the data: install it and set MINIKUBE_REDIS_SERVER; or start" in text


async def test_a_reply_to_info_is_read_whole_and_none_where_no_server_is(redis_server: RedisServer) -> None:
    assert "redis_version:" in await embedded_redis.read_info(str(redis_server.socket))
    assert await embedded_redis.read_info("/no/such/socket") == ""
