"""What the supervisor's run comes to when it fails: one error in plain words."""

import errno
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.errors import MinikubeError, StartError
from minikube.manifest import HostPort, load_manifest
from minikube.supervisor.backing.parts import PartSpec
from minikube.supervisor.daemon import run as running
from minikube.supervisor.daemon import shutdown as endings
from minikube.supervisor.launch_options import LaunchOptions


@pytest.mark.parametrize(
    ("error", "kind"), [(StartError("redis: does not answer"), MinikubeError), (KeyError("x"), ExceptionGroup)]
)
def test_only_what_fails_on_purpose_comes_out_of_the_nurseries(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    async def fail(*_: object) -> int:
        async with trio.open_nursery() as outer:
            outer.start_soon(trio.sleep_forever)
            async with trio.open_nursery():
                raise error

    monkeypatch.setattr(running, "_main", fail)
    with pytest.raises(kind) as caught:
        running.run(cast(Any, None), [], cast(socket.socket, None), 0)
    if kind is MinikubeError:
        assert str(caught.value) == "redis: does not answer"


async def test_a_defect_while_the_project_runs_still_stops_redis_and_the_registry_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    happened: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        async def run(self, first: object) -> None:
            await trio.sleep_forever()

        async def stop(self) -> None:
            await trio.lowlevel.checkpoint()
            happened.append(self.name)

    async def start_redis(*_: object) -> Part:
        await trio.lowlevel.checkpoint()
        return Part("redis")

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("x")

    async def idle(*_: object) -> None:
        await trio.sleep_forever()

    for name in ("obey_signals", "obey_lifeline", "watch_guardian"):
        monkeypatch.setattr(endings, name, idle)
    monkeypatch.setattr(running, "_reap", idle)
    monkeypatch.setattr(running, "ProcessTable", lambda _: SimpleNamespace(raise_file_limit=lambda: None))
    monkeypatch.setattr(running, "start_redis", start_redis)
    monkeypatch.setattr(running, "registry_runner", lambda *_: Part("registry"))
    monkeypatch.setattr(running, "_serve", fail)
    (tmp_path / "supervisor.toml").write_text('[services.x]\ncommand = "x"\n')
    part = PartSpec("part", ("true",), {}, tmp_path, "there")
    plan = running.LaunchPlan(
        load_manifest(tmp_path / "supervisor.toml"),
        LaunchOptions(),
        tmp_path,
        part,
        part,
        HostPort("127.0.0.1", 0),
        [],
        [],
    )
    with pytest.raises(ExceptionGroup, match="from Trio nursery"):
        await running._main(plan, cast(Any, [None, None]), cast(Any, None), 0)
    assert happened == ["registry", "redis"]


async def test_what_runs_beside_begins_anew_after_a_shortage_and_is_off_after_a_defect(autojump_clock: object) -> None:
    board, began = StateStore("test"), trio.current_time()
    shortage = RuntimeError("can't start new thread")
    errors = [shortage, shortage, OSError(errno.EMFILE, "Too many open files"), KeyError("x")]
    times: list[float] = []

    async def run() -> None:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time() - began)
        raise errors.pop(0)

    await running._beside(board, "watching files", run)
    assert times == [0.0, *(running.BESIDE_AGAIN_S * number for number in (1, 2, 3))]
    assert [(event.level, event.message) for event in board.events_since(0)] == [
        ("warning", "watching files: no memory or thread left — trying again"),
        ("warning", "watching files: Too many open files — trying again"),
        ("error", "watching files failed and is off: KeyError('x') — see supervisor.log"),
    ]
