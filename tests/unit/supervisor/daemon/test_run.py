"""Errors of the supervisor's run: which are raised, what is stopped nevertheless, what is tried again."""

import errno
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from minikube.control.state_store import StateStore
from minikube.errors import MinikubeError, StartError
from minikube.manifest import HostPort, load_manifest
from minikube.model import ProcessState
from minikube.project.run_claim import RunClaim
from minikube.project_dir import read_run_end
from minikube.supervisor.backing.spec import BackingSpec
from minikube.supervisor.context import RunContext
from minikube.supervisor.daemon import run, shutdown
from minikube.supervisor.daemon.launch_plan import LaunchPlan
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.readiness.registry_monitor import RegistryHealth
from minikube.supervisor.reconcile.exit_watch import ExitWatch
from minikube.supervisor.reconcile.registry_events import RegistryEvents
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.runtime.exit_status import Exit
from tests.unit.supervisor.instance.fakes import SPEC


@pytest.mark.parametrize(
    ("error", "kind"), [(StartError("redis: does not answer"), MinikubeError), (KeyError("x"), ExceptionGroup)]
)
def test_an_intended_error_is_raised_without_the_exception_group(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    async def fail(*_: object) -> int:
        async with trio.open_nursery() as outer:
            outer.start_soon(trio.sleep_forever)
            async with trio.open_nursery():
                raise error

    monkeypatch.setattr(run, "_main", fail)
    with pytest.raises(kind) as caught:
        run.run_supervisor(cast(Any, None), cast(Any, None), [], cast(socket.socket, None), 0)
    if kind is MinikubeError:
        assert str(caught.value) == "redis: does not answer"


async def test_an_error_of_the_supervisor_still_stops_the_registry_before_redis(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped: list[str] = []

    class FakeBacking:
        def __init__(self, name: str) -> None:
            self.name = name

        async def run(self, first: object) -> None:
            await trio.sleep_forever()

        async def stop(self) -> None:
            await trio.lowlevel.checkpoint()
            stopped.append(self.name)

    async def start_redis(*_: object) -> FakeBacking:
        await trio.lowlevel.checkpoint()
        return FakeBacking("redis")

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("x")

    async def idle(*_: object) -> None:
        await trio.sleep_forever()

    for name in ("obey_signals", "obey_up", "watch_guardian"):
        monkeypatch.setattr(shutdown, name, idle)
    monkeypatch.setattr(run, "keep_project_files", idle)

    async def adopt(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    def ignore() -> None:
        pass

    table = SimpleNamespace(raise_file_limit=ignore, close=ignore, adopt=adopt, reap_children=idle)
    monkeypatch.setattr(run, "ProcessTable", lambda *_: table)
    monkeypatch.setattr(run, "start_redis", start_redis)
    monkeypatch.setattr(run, "registry_service", lambda *_: FakeBacking("registry"))
    monkeypatch.setattr(run, "_serve", fail)
    (tmp_path / "supervisor.toml").write_text('[services.x]\ncommand = "x"\n')
    spec = BackingSpec("redis", ("true",), {}, tmp_path, "there")
    claim = RunClaim(tmp_path)
    plan = LaunchPlan(
        load_manifest(tmp_path / "supervisor.toml"),
        LaunchOptions(),
        tmp_path,
        claim,
        spec,
        spec,
        "token",
        "secret",
        HostPort("127.0.0.1", 0),
        [],
        [],
    )
    with pytest.raises(ExceptionGroup, match="from Trio nursery"):
        await run._main(plan, cast(Any, None), [(spec, cast(Any, None))] * 2, cast(Any, None), 0)
    claim.close()
    assert stopped == ["registry", "redis"]


async def test_what_is_wrong_with_the_registry_is_shown_at_everything_that_rests_on_it() -> None:
    reports: list[tuple[str, str, str]] = []
    registry, redis = (
        cast(Any, SimpleNamespace(report=lambda source, text, name=name: reports.append((name, source, text))))
        for name in ("registry", "redis")
    )
    events, sync = RegistryEvents(StateStore("test"), {}), cast(Any, SimpleNamespace())
    sync.set_lookup_problem = lambda text: reports.append(("instances", "", text))
    health = RegistryHealth("its store is away", "no disk", "nothing was read")
    run._show_registry_health(registry, redis, events, sync, health)
    assert reports == [
        ("registry", "status", "its store is away"),
        ("redis", "registry", "the registry cannot use it: no disk"),
        ("instances", "", "nothing was read"),
    ]
    assert events.lookup_problem == "nothing was read", "before the entries are shown again"
    reports.clear()
    run._show_registry_health(registry, None, events, sync, RegistryHealth())
    assert [text for _, _, text in reports] == ["", ""]


async def test_a_background_task_is_run_again_after_a_shortage_and_is_off_after_another_error(
    autojump_clock: object,
) -> None:
    store, began = StateStore("test"), trio.current_time()
    shortage = RuntimeError("can't start new thread")
    errors = [shortage, shortage, OSError(errno.EMFILE, "Too many open files"), KeyError("x")]
    times: list[float] = []

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time() - began)
        raise errors.pop(0)

    await run._run_background(store, "watching files", fail)
    assert times == [0.0, *(run.TASK_RETRY_S * number for number in (1, 2, 3))]
    assert [(event.level, event.message) for event in store.events_since(0)] == [
        ("warning", "watching files: no memory or thread left — trying again"),
        ("warning", "watching files: Too many open files — trying again"),
        ("error", "watching files failed and is off: KeyError('x') — see .minikube/logs/minikube.supervisor.log"),
    ]


@pytest.mark.parametrize("follows", [True, False])
async def test_a_service_that_ends_the_project_has_its_exit_code_sent_recorded_and_returned(
    autojump_clock: object, tmp_path: Path, follows: bool
) -> None:
    """The code is sent at once; the stop waits until `up` prints events, where it is to print them."""
    options = LaunchOptions(prints_events=follows)
    context = RunContext(tmp_path, options, StateStore("p"), cast(Any, None), "")
    watch = ExitWatch(context, ReplicaSet())
    watch.on_end(replace(SPEC, on_exit="stop-all"), "x-2", InstanceState(ProcessState.EXITED, exit=Exit(7)))
    reconciler: Any = SimpleNamespace(exit_watch=watch, context=context)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run._stop_with_service, reconciler, ours)
            await trio.testing.wait_all_tasks_blocked()
            why = 'x-2 ended: exit 7 (on_exit = "stop-all")'
            assert json.loads(theirs.recv(4096)) == {"ended": {"why": why, "code": 7}}
            assert context.stop_requested.is_set() is not follows
            context.store.events_followed.set()
        assert context.stop_requested.is_set()
    assert context.exit_code == 7
    end = read_run_end(tmp_path)
    assert end is not None
    assert end.why == why
    assert [event.instance for event in context.store.events_since(0)] == ["x-2"]
