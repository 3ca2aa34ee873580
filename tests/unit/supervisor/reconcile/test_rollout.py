"""Roll-outs: what comes next in a table, and whatever is wished meanwhile, in virtual time, over the real core."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minikube.errors import MinikubeError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec, load_manifest
from minikube.model import ProcessState
from minikube.supervisor.context import RunContext
from minikube.supervisor.daemon.ipc import LaunchOptions
from minikube.supervisor.reconcile.apply import ManifestReconciler
from minikube.supervisor.reconcile.commands import CommandHandler
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout import RolloutFailed
from minikube.supervisor.reconcile.rollout_plan import Replica, Step, next_step
from minikube.supervisor.runtime.interface import Launch
from tests.unit.supervisor.instance.test_controller import Fake, Home, Output

OLD, READY = Replica("old", due=True, ready=True), Replica("ready", ready=True)
BAD, AWAY = Replica("bad", due=True), Replica("away", awaited=True)


@pytest.mark.parametrize(
    ("replicas", "at_a_time", "lost", "step"),
    [
        ([], 1, False, Step(over=True)),
        ([READY, READY], 1, False, Step(over=True)),
        ([OLD, READY], 1, False, Step(("old",))),
        ([OLD, BAD], 1, False, Step(("bad",))),
        ([OLD, AWAY], 1, False, Step()),
        ([OLD, AWAY], 2, False, Step(("old",))),
        ([AWAY], 1, False, Step()),
        ([Replica("again", due=True, awaited=True)], 1, False, Step(("again",))),
        ([OLD, READY], 1, True, Step(leave=("old",), over=True)),
        ([OLD, AWAY], 2, True, Step(leave=("old",))),
    ],
)
def test_what_comes_next(replicas: list[Replica], at_a_time: int, lost: bool, step: Step) -> None:
    assert next_step(replicas, at_a_time, lost=lost) == step


class Machine(Home):
    def absent(self, id: str) -> None: ...


class Core(Reconciler):
    """The supervisor's, with processes that are none."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.fake = Machine()
        self.running: dict[str, list[tuple[Fake, ServiceSpec]]] = {}
        household: Any = SimpleNamespace(groups=None)
        link: Any = self.fake
        site = RunContext(directory, LaunchOptions(), self.fake.board, household, "127.0.0.1:1")
        manifest = load_manifest(directory / "supervisor.toml")
        super().__init__(site, manifest, ReplicaSet(), link, nursery)
        self.hands = CommandHandler(self, nursery)
        self.hands.applier = ManifestReconciler(self, self.hands, nursery)

    def runtime(self, spec: ServiceSpec) -> Any:
        return self

    async def prepare(self, spec: ServiceSpec, output: object, tell: object) -> None:
        await trio.lowlevel.checkpoint()

    async def start(self, launch: Launch) -> Fake:
        process = await self.fake.start(launch)
        self.running.setdefault(launch.name, []).append((process, launch.spec))
        return process

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> InstanceLog:
        return cast(InstanceLog, Output(spec))

    def recorded(self) -> None: ...

    def alive(self) -> dict[str, str]:
        """Names of what is alive, and the version of each; one name has one process."""
        found: dict[str, str] = {}
        for name, all_of_it in self.running.items():
            alive = [spec.env["V"] for process, spec in all_of_it if process.exit is None]
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
@example([(("restart", 0), 1.5), (("apply", 2), 0.0), (("restart", 0), 0.3)])
@example([(("restart one", 0), 0.0), (("apply", 2), 0.0), (("scale", 3), 0.0), (("apply", 1), 0.0)])
@example([(("slow", 0), 2.5), (("restart", 0), 1.0), (("apply", 2), 0.0)])
def test_whatever_is_wished_while_a_roll_out_is_under_way_is_so_when_it_is_quiet(
    asked: list[tuple[tuple[str, int], float]],
) -> None:
    with TemporaryDirectory() as directory:
        trio.run(_story_of, Path(directory), asked, clock=trio.testing.MockClock(autojump_threshold=0.001))


async def _story_of(directory: Path, asked: list[tuple[tuple[str, int], float]]) -> None:
    write(directory, 0, 3)
    replicas, version, runs, open_requests = 3, 0, True, 0
    refusals: list[str] = []
    async with trio.open_nursery() as nursery:
        core = Core(directory, nursery)
        hands = core.hands
        core.open()
        await trio.sleep(2.5)

        async def request(act: Callable[..., Awaitable[object]], *arguments: object) -> None:
            nonlocal open_requests
            open_requests += 1
            try:
                await act(*arguments)
            except MinikubeError as error:
                refusals.append(str(error))
            finally:
                open_requests -= 1

        for (act, number), seconds in asked:
            match act:
                case "scale":
                    replicas = number
                    nursery.start_soon(request, hands.scale, "web", number)
                case "apply":
                    version = number
                    write(directory, number, 3)
                    await request(hands.apply)
                case "restart" | "start" | "stop":
                    runs = act != "stop"
                    nursery.start_soon(request, getattr(hands, act), "web")
                case "restart one" if runs and core.roster.of("web"):
                    nursery.start_soon(request, hands.restart, core.roster.of("web")[-1].name)
                case "exit" if core.running:
                    next(iter(core.running.values()))[-1][0].die(1)
                case "slow" | "quick":
                    core.fake.obeys, core.fake.begins = (0.8, 0.5) if act == "slow" else (0.1, 0.0)
            await trio.sleep(seconds)
            if act in ("scale", "stop", "start", "restart"):
                await trio.lowlevel.checkpoint()
        await trio.sleep(120)
        assert open_requests == 0, "everybody is answered"
        assert all("stopped meanwhile" in one or "did not come back" in one for one in refusals), refusals
        runners = core.roster.of("web")
        assert len(runners) == replicas
        wanted = {one.name: str(version) for one in runners if one.wish.runs}
        assert core.alive() == wanted
        assert all(one.life.state is ProcessState.RUNNING for one in runners if one.wish.runs)
        assert "web" not in hands.rollouts
        if runs and all(act not in ("stop",) for (act, _), _ in asked):
            assert len(wanted) == replicas
        if asked and asked[-1][0][0] == "stop":
            assert wanted == {}
        await core.hands.stop("web")
        assert core.alive() == {}
        nursery.cancel_scope.cancel()


async def test_a_wish_that_comes_while_one_does_not_get_well_is_rolled_out_at_once(
    autojump_clock: object, tmp_path: Path
) -> None:
    write(tmp_path, 0, 3)
    async with trio.open_nursery() as nursery:
        core = Core(tmp_path, nursery)
        core.open()
        await trio.sleep(3)
        core.fake.begins = 25.0
        nursery.start_soon(core.hands.restart, "web")
        await trio.sleep(1)
        core.fake.begins, began = 0.0, trio.current_time()
        write(tmp_path, 1, 3)
        await core.hands.apply()
        assert trio.current_time() - began < 35
        assert core.alive() == {"web-1": "1", "web-2": "1", "web-3": "1"}
        nursery.cancel_scope.cancel()


async def test_a_service_that_is_slow_to_leave_is_none_any_more_and_its_row_goes_with_it(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(process: Fake, number: int, timeout: float) -> list[str]:
        await process.exited.wait()
        return []

    write(tmp_path, 0, 1)
    async with trio.open_nursery() as nursery:
        core = Core(tmp_path, nursery)
        core.open()
        await trio.sleep(3)
        with monkeypatch.context() as patched:
            patched.setattr(Fake, "end", deaf)
            with pytest.raises(RolloutFailed, match="is not down yet"):
                await core.forget_service("web")
        assert "web" not in core.roster
        assert core.board.service("web") is None
        assert [row.name for row in core.board.snapshot.instances] == ["web"], "it is still there"
        core.running["web"][0][0].die(-9)
        await trio.testing.wait_all_tasks_blocked()
        assert core.board.snapshot.instances == ()
        nursery.cancel_scope.cancel()


async def test_who_cannot_be_ended_is_told_in_bounded_time_and_stays_in_reach(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that only the kernel could end."""

    async def deaf(process: Fake, number: int, timeout: float) -> list[str]:
        await process.exited.wait()
        return []

    write(tmp_path, 0, 2)
    async with trio.open_nursery() as nursery:
        core = Core(tmp_path, nursery)
        core.open()
        await trio.sleep(3)
        with monkeypatch.context() as patched:
            patched.setattr(Fake, "end", deaf)
            began, name = trio.current_time(), "web-2"
            for act, arguments in (
                (core.hands.scale, ("web", 1)),
                (core.hands.stop, (name,)),
                (core.hands.restart, ("web",)),
                (core.hands.stop, ("web",)),
            ):
                with pytest.raises(RolloutFailed, match="is not down yet"):
                    await act(*arguments)
            assert trio.current_time() - began < 200
        for process, _ in (*core.running["web-1"], *core.running[name]):
            process.die(-9)
        await core.hands.stop("web-1")
        for one in core.roster.alive(name):
            await one.finished.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert core.alive() == {}
        assert [one.name for one in core.roster.all] == ["web-1"]
        nursery.cancel_scope.cancel()
