"""Roll-outs: the next step in a table, and requests that come meanwhile, in virtual time, over the real reconciler."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.errors import MinikubeError, StartError, UsageError
from minikube.manifest import ServiceSpec, load_manifest
from minikube.model import ProcessState
from minikube.supervisor.context import RunContext
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.apply.manifest_reconciler import ManifestReconciler
from minikube.supervisor.reconcile.errors import RolloutFailed, StopTimeout
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout.plan import Replica, Step, next_step
from minikube.supervisor.reconcile.rollout.rollout import Rollouts
from minikube.supervisor.reconcile.runtimes import Runtimes
from minikube.supervisor.runtime.interface import Launch
from tests.unit.supervisor.instance.fakes import SPEC, FakeLog, FakeProcess, FakeSupervisor


@pytest.fixture(autouse=True, scope="module")
def no_threads() -> Iterator[None]:
    """A virtual clock would jump on while a thread works, to the time-out of what waits for it."""

    async def run_here(work: Callable[..., object], *arguments: object, **_: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", run_here)
        yield


OLD, READY = Replica("old", queued=True, ready=True), Replica("ready", ready=True)
BAD, AWAY = Replica("bad", queued=True), Replica("away", awaited=True)


@pytest.mark.parametrize(
    ("replicas", "max_unavailable", "failed", "step"),
    [
        ([], 1, False, Step(done=True)),
        ([READY, READY], 1, False, Step(done=True)),
        ([OLD, READY], 1, False, Step(("old",))),
        ([OLD, BAD], 1, False, Step(("bad",))),
        ([OLD, AWAY], 1, False, Step()),
        ([OLD, AWAY], 2, False, Step(("old",))),
        ([AWAY], 1, False, Step()),
        ([Replica("again", queued=True, awaited=True)], 1, False, Step(("again",))),
        ([OLD, READY], 1, True, Step(skip=("old",), done=True)),
        ([OLD, AWAY], 2, True, Step(skip=("old",))),
    ],
)
def test_the_next_step(replicas: list[Replica], max_unavailable: int, failed: bool, step: Step) -> None:
    assert next_step(replicas, max_unavailable, failed=failed) == step


class FakeRegistrySync(FakeSupervisor):
    def on_created(self, id: str) -> None: ...

    def reserve_soon(self) -> None: ...


class Project:
    """A project with a real reconciler, and processes that are fakes. Implements `Runtimes` and `Runtime`."""

    def __init__(
        self,
        directory: Path,
        nursery: trio.Nursery,
        options: LaunchOptions = LaunchOptions(),  # noqa: B008
    ) -> None:
        self.fake = FakeRegistrySync()
        self.running: dict[str, list[tuple[FakeProcess, ServiceSpec]]] = {}
        process_table: Any = SimpleNamespace(groups=None, identities=(), current_path=lambda path: path, relocations=())
        context = RunContext(directory, options, self.fake.store, process_table, "127.0.0.1:1")
        context.logs = cast(
            Any, SimpleNamespace(open=lambda service, name, spec, secrets: FakeLog(SPEC), forget=lambda name: None)
        )
        self.store = context.store
        self.replicas = ReplicaSet()
        manifest = load_manifest(directory / "supervisor.toml")
        registry_sync: Any = self.fake
        self.reconciler = Reconciler(context, manifest, self.replicas, registry_sync, cast(Runtimes, self), nursery)
        self.rollouts = Rollouts(self.store, self.replicas, context.stop_requested, nursery)
        self.actions = ServiceActions(self.reconciler, self.rollouts)
        self.apply = ManifestReconciler(self.reconciler, self.actions, self.rollouts, nursery).apply
        self.reconciler.start()

    def select(self, spec: ServiceSpec) -> Any:
        return self

    async def prepare(self, spec: ServiceSpec, log: object, show_progress: object) -> None:
        await trio.lowlevel.checkpoint()

    async def start(self, launch: Launch) -> FakeProcess:
        process = await self.fake.start(launch)
        self.running.setdefault(launch.name, []).append((process, launch.spec))
        return process

    def alive(self) -> dict[str, str]:
        """Return the names of the instances that are alive with the version of each. Every name has one process at most."""
        found: dict[str, str] = {}
        for name, started in self.running.items():
            alive = [spec.env["V"] for process, spec in started if process.exit is None]
            assert len(alive) <= 1
            found.update({name: alive[0]} if alive else {})
        return found


def write(directory: Path, version: int, replicas: int) -> None:
    (directory / "supervisor.toml").write_text(
        f'[services.web]\ncommand = "run"\nregister = "none"\nreplicas = {replicas}\nenv = {{ V = "{version}" }}\n'
        'stop = { timeout = "1s", drain = "0s" }\nrestart = { delay = "100ms" }\n'
    )


steps = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("scale"), st.integers(0, 4)),
            st.tuples(st.just("apply"), st.integers(0, 3)),
            st.tuples(
                st.sampled_from(["restart", "stop", "start", "exit", "restart one", "slow", "quick"]), st.just(0)
            ),
        ),
        st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 1.0, 2.5]),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps)
@example([(("restart", 0), 0.05), (("scale", 1), 0.05), (("scale", 4), 0.0)])
@example([(("restart", 0), 1.5), (("stop", 0), 0.0)])
@example([(("restart one", 0), 0.0), (("stop", 0), 0.0)])
@example([(("restart", 0), 1.5), (("apply", 2), 0.0), (("restart", 0), 0.3)])
@example([(("restart one", 0), 0.0), (("apply", 2), 0.0), (("scale", 3), 0.0), (("apply", 1), 0.0)])
@example([(("slow", 0), 2.5), (("restart", 0), 1.0), (("apply", 2), 0.0)])
@example([(("stop", 0), 0.3), (("start", 0), 0.0), (("scale", 1), 0.0), (("restart", 0), 0.0)])
@example([(("restart", 0), 0.1), (("start", 0), 0.3)])
@example(
    [
        (("scale", 0), 0.1),
        (("slow", 0), 0.0),
        (("scale", 1), 0.01),
        (("stop", 0), 0.0),
        (("apply", 1), 0.0),
        (("start", 0), 0.0),
    ]
)
def test_for_any_requests_during_a_roll_out_the_last_ones_hold_in_the_end(
    requests: list[tuple[tuple[str, int], float]],
) -> None:
    with TemporaryDirectory() as directory:
        trio.run(_run_story, Path(directory), requests, clock=trio.testing.MockClock(autojump_threshold=0))


async def _run_story(directory: Path, requests: list[tuple[tuple[str, int], float]]) -> None:
    write(directory, 0, 3)
    replicas, version, runs, open_requests = 3, 0, True, 0
    errors: list[str] = []
    async with trio.open_nursery() as nursery:
        project = Project(directory, nursery)
        actions = project.actions
        await trio.sleep(2.5)

        async def request(act: Callable[..., Awaitable[object]], *arguments: object) -> None:
            nonlocal open_requests
            open_requests += 1
            try:
                await act(*arguments)
            except MinikubeError as error:
                errors.append(str(error))
            finally:
                open_requests -= 1

        for (act, number), seconds in requests:
            match act:
                case "scale":
                    replicas = number
                    nursery.start_soon(request, actions.scale, "web", number)
                case "apply":
                    version = number
                    write(directory, number, 3)
                    await request(project.apply)
                case "restart" | "start" | "stop":
                    runs = act != "stop"
                    nursery.start_soon(request, getattr(actions, act), "web")
                case "restart one" if runs and project.replicas.of("web"):
                    nursery.start_soon(request, actions.restart, project.replicas.of("web")[-1].name)
                case "exit" if project.running:
                    next(iter(project.running.values()))[-1][0].die(1)
                case "slow" | "quick":
                    project.fake.stop_delay, project.fake.start_delay = (0.8, 0.5) if act == "slow" else (0.1, 0.0)
            await trio.sleep(seconds)
            if act in ("scale", "stop", "start", "restart"):
                await trio.lowlevel.checkpoint()
        await trio.sleep(120)
        assert open_requests == 0, "every request is answered"
        expected = ("stopped meanwhile", "did not come back", "as it has 0 replicas")
        assert all(any(text in error for text in expected) for error in errors), errors
        controllers = project.replicas.of("web")
        assert len(controllers) == replicas
        wanted = {controller.name: str(version) for controller in controllers if controller.desired.running}
        assert project.alive() == wanted
        assert all(
            controller.state.process_state is ProcessState.RUNNING
            for controller in controllers
            if controller.desired.running
        )
        assert "web" not in project.rollouts
        if runs and all(act not in ("stop",) for (act, _), _ in requests):
            assert len(wanted) == replicas
        if requests and requests[-1][0][0] == "stop":
            assert wanted == {}
        await project.actions.stop("web")
        assert project.alive() == {}
        nursery.cancel_scope.cancel()


async def test_a_request_that_comes_while_a_replica_does_not_get_ready_is_rolled_out_at_once(
    autojump_clock: object, tmp_path: Path
) -> None:
    write(tmp_path, 0, 3)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery)
        await trio.sleep(3)
        project.fake.start_delay = 25.0
        nursery.start_soon(project.actions.restart, "web")
        await trio.sleep(1)
        project.fake.start_delay, began = 0.0, trio.current_time()
        write(tmp_path, 1, 3)
        await project.apply()
        assert trio.current_time() - began < 35
        assert project.alive() == {"web-1": "1", "web-2": "1", "web-3": "1"}
        nursery.cancel_scope.cancel()


async def test_a_removed_service_that_is_slow_to_stop_is_gone_and_its_row_goes_when_it_has_stopped(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignore_signals(process: FakeProcess, number: int, timeout: float) -> list[str]:
        await process.exited.wait()
        return []

    write(tmp_path, 0, 1)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery)
        await trio.sleep(3)
        with monkeypatch.context() as patched:
            patched.setattr(FakeProcess, "end", ignore_signals)
            with pytest.raises(StopTimeout, match="is not down yet"):
                await project.reconciler.remove_service("web")
        assert "web" not in project.replicas
        assert project.store.service("web") is None
        assert [row.name for row in project.store.snapshot.instances] == ["web"], (
            "the row of a process that is still there stays"
        )
        project.running["web"][0][0].die(-9)
        await trio.testing.wait_all_tasks_blocked()
        assert project.store.snapshot.instances == ()
        nursery.cancel_scope.cancel()


async def test_a_process_that_cannot_be_killed_is_reported_in_bounded_time_and_can_still_be_stopped(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the kernel could end the process."""

    async def ignore_signals(process: FakeProcess, number: int, timeout: float) -> list[str]:
        await process.exited.wait()
        return []

    write(tmp_path, 0, 2)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery)
        await trio.sleep(3)
        with monkeypatch.context() as patched:
            patched.setattr(FakeProcess, "end", ignore_signals)
            began, name = trio.current_time(), "web-2"
            for act, arguments in (
                (project.actions.scale, ("web", 1)),
                (project.actions.stop, (name,)),
                (project.actions.restart, ("web",)),
                (project.actions.stop, ("web",)),
            ):
                with pytest.raises(StopTimeout, match="is not down yet"):
                    await act(*arguments)
            assert trio.current_time() - began < 200
        for process, _ in (*project.running["web-1"], *project.running[name]):
            process.die(-9)
        await project.actions.stop("web-1")
        for controller in project.replicas.find_with_removed(name):
            await controller.finished.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert project.alive() == {}
        assert [controller.name for controller in project.replicas.all] == ["web-1"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("act", ["start", "restart", "kill"])
async def test_what_is_asked_of_a_service_without_replicas_says_that_it_has_none(
    autojump_clock: object, tmp_path: Path, act: str
) -> None:
    write(tmp_path, 0, 0)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery)
        await trio.sleep(1)
        with pytest.raises(UsageError, match="web: has no instance, as it has 0 replicas — `minikube scale web=1`"):
            await getattr(project.actions, act)("web")
        await project.actions.stop("web")
        nursery.cancel_scope.cancel()


async def test_a_scale_fails_where_a_new_instance_is_not_started(autojump_clock: object, tmp_path: Path) -> None:
    """It says why, and does not return as if the instance were there. What fails already is not asked about."""
    write(tmp_path, 0, 1)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery)
        await trio.sleep(3)
        project.fake.start_error = StartError("command not found: nosuch")
        with pytest.raises(RolloutFailed, match="web-2 cannot be started: command not found: nosuch"):
            await project.actions.scale("web", 2)
        project.fake.start_error = None
        await project.actions.scale("web", 3)
        assert sorted(project.alive()) == ["web", "web-3"]
        project.fake.start_delay = 200.0
        with pytest.raises(
            RolloutFailed, match=r"web-4 cannot be started: its process was not started within .* goes on"
        ):
            await project.actions.scale("web", 4)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_restart_is_refused_before_the_stop_where_the_working_directory_is_gone(
    autojump_clock: object, tmp_path: Path, replicas: int
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    write(root, 0, replicas)
    async with trio.open_nursery() as nursery:
        project = Project(root, nursery)
        await trio.sleep(3)
        before = project.alive()
        root.rename(tmp_path / "moved")
        with pytest.raises(RolloutFailed, match=f"not restarted, .* its working directory {root} was moved or removed"):
            await project.actions.restart("web")
        assert project.alive() == before
        assert all(len(started) == 1 for started in project.running.values())
        nursery.cancel_scope.cancel()


async def test_an_instance_that_waits_in_vain_is_given_with_the_reason_of_this_moment(
    autojump_clock: object, tmp_path: Path
) -> None:
    """Its own reason is from before: it learns later than others that a dependency is not met any more."""
    web = '[services.web]\ncommand = "run"\nregister = "none"\n'
    task = '[services.task]\ncommand = "run"\nregister = "none"\ndepends_on = { web = "started" }\n'
    (tmp_path / "supervisor.toml").write_text(web + task)
    async with trio.open_nursery() as nursery:
        project = Project(tmp_path, nursery, LaunchOptions(exit_with="task"))
        await trio.sleep(3)
        (controller,) = project.replicas.of("task")
        assert project.replicas.final_state(controller) is None
        await project.actions.stop("task")
        await project.actions.stop("web")
        await project.actions.start("task")
        controller.state = replace(controller.state, reason="waiting for web to be started: web is itself pending")
        end = await project.reconciler.exit_watch.wait()
        assert end.how == "waiting for web to be started: web is stopped — `minikube start web`"
        assert (end.service, end.code) == ("task", 1)
        nursery.cancel_scope.cancel()
