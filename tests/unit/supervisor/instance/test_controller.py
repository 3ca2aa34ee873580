"""The controller of one instance in virtual time: what is started, signalled and recorded, and when."""

import errno
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.control.state_store import StateStore
from minikube.errors import PortTaken, StartError
from minikube.health.prober import Prober
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec, StopSpec
from minikube.model import Instance, ProcessState, Registration
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.collaborators import Collaborators
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.readiness.start_time import StartTime
from minikube.supervisor.reconcile.errors import RolloutFailed
from minikube.supervisor.reconcile.rollout.single import restart_instance, wait_started
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import ExecResult, Launch, Runtime

TERM, KILL = 15, 9
SPEC = ServiceSpec("x", Path("/"), ("run",), register="none")


class FakeLog:
    """An instance's log that keeps nothing."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec.logs
        self.last_lines: tuple[str, ...] = ("last words",)
        self.masked: tuple[str, ...] = ()
        self.inserted: list[str] = []

    def insert(self, text: str) -> None:
        self.inserted.append(text)

    def clear(self) -> None: ...

    def mask(self, secrets: Iterable[str]) -> None:
        self.masked = tuple(secrets)

    def expect(self, pattern: str, found: object) -> None: ...

    async def read(self, descriptor: int, stream: str) -> None:
        await trio.lowlevel.checkpoint()


class FakeProcess:
    """Implements `Running`: exits by itself after `lifetime` seconds, and `stop_delay` after a signal; ignores it for None."""

    stdout = stderr = -1
    host = "127.0.0.1"
    env: Mapping[str, str] = {}

    def __init__(self, supervisor: "FakeSupervisor", pid: int) -> None:
        self.pid = pid
        self.port = supervisor.port
        self.exited = trio.Event()
        self.exit: Exit | None = None
        self._supervisor = supervisor

    def die(self, status: int) -> None:
        if self.exit is None:
            self.exit = Exit(status)
            self._supervisor.note("died", status)
            self.exited.set()

    async def wait_exit(self) -> Exit:
        if self._supervisor.watch_error and self.exit is None:
            await trio.sleep(0.2)
            raise self._supervisor.watch_error
        with trio.move_on_after(self._supervisor.lifetime):
            await self.exited.wait()
        self.die(1)
        assert self.exit is not None
        return self.exit

    async def send_signal(self, number: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.die(-number)
        return True

    def describe_alive(self) -> list[str]:
        return [f"pid {self.pid} (fake)"] if self.exit is None else []

    async def end(self, number: int, timeout: float) -> list[str]:
        if self.exit is not None:
            await trio.lowlevel.checkpoint()
            return []
        self._supervisor.note("signal", number, timeout)
        try:
            with trio.move_on_after(timeout):
                if self._supervisor.stop_delay is not None and number != KILL:
                    await trio.sleep(self._supervisor.stop_delay)
                    self.die(-number)
                await self.exited.wait()
            return self.describe_alive()
        finally:
            self.die(-KILL)

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        await trio.sleep(0.01)
        self._supervisor.note("ran", *argv)
        return ExecResult(Exit(self._supervisor.check_status), "as asked")

    def close(self) -> None:
        self._supervisor.alive -= 1


class FakeSupervisor:
    """The collaborators of a controller, its runtime and the registry: what happens is noted with its time."""

    def __init__(self) -> None:
        self.store = StateStore("test")
        self.stop_requested = CancelEvent()
        self.immediate_stop_requested = ResettableEvent()
        self.lifetime = float("inf")
        self.port = 0
        self.stop_delay: float | None = 0.1
        self.check_status = 0
        self.unmet = ""
        """Why dependencies are not met."""
        self.start_error: Exception | None = None
        self.watch_error: Exception | None = None
        self.prepare_delay = self.start_delay = 0.0
        """How long preparation and start take; a start cannot be interrupted."""
        self.was_registered = True
        self.alive = self.most = self.starting = 0
        self.happened: list[tuple[Any, ...]] = []
        self.processes: list[FakeProcess] = []
        self.logs: list[FakeLog] = []
        self._began = trio.current_time()

    @property
    def collaborators(self) -> Collaborators:
        # The lambdas look methods up at each call: tests replace them meanwhile.
        return Collaborators(
            store=self.store,
            registry_sync=cast(RegistrySync, self),
            prober=Prober(),
            stop_requested=self.stop_requested,
            immediate_stop_requested=self.immediate_stop_requested,
            select_runtime=lambda spec: cast(Runtime, self),
            taken_ports=lambda id: frozenset(),
            open_log=lambda spec, name, secrets: cast(InstanceLog, self.open_log(spec)),
            unmet_dependency=lambda spec: self.unmet_dependency(spec),
            record_processes=lambda: self.record_processes(),
            next_run=lambda name: 0.0,
        )

    def note(self, *what: object) -> None:
        self.happened.append((round(trio.current_time() - self._began, 6), *what))

    def times(self, what: str) -> list[float]:
        return [time for time, kind, *_ in self.happened if kind == what]

    def open_log(self, spec: ServiceSpec) -> FakeLog:
        self.logs.append(FakeLog(spec))
        return self.logs[-1]

    def unmet_dependency(self, spec: ServiceSpec) -> str:
        return self.unmet

    def record_processes(self) -> None: ...

    # ------------------------------------------------------------ Runtime

    async def prepare(self, spec: ServiceSpec, log: object, tell: object) -> None:
        self.note("prepared")
        await trio.sleep(self.prepare_delay)

    async def start(self, launch: Launch) -> FakeProcess:
        self.note("started")
        self.starting += 1
        try:
            return await self._start()
        finally:
            self.starting -= 1

    async def _start(self) -> FakeProcess:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(self.start_delay)
        if self.start_error:
            raise self.start_error
        self.alive += 1
        self.most = max(self.most, self.alive)
        self.processes.append(FakeProcess(self, len(self.processes) + 1))
        return self.processes[-1]

    # ------------------------------------------------------------ RegistrySync

    def on_start(self, id: str, start_time: StartTime) -> None: ...

    def register(self, id: str, registration: Registration) -> None: ...

    def entry(self, id: str) -> Instance | None:
        return None

    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        self.note("reported", passing)

    def deregister_soon(self, id: str) -> None: ...

    async def deregister(self, id: str) -> bool:
        self.note("deregistered")
        await trio.lowlevel.checkpoint()
        return self.was_registered


class ResettableEvent(CancelEvent):
    """An event that a test can use again."""

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


class Story:
    """`async with Story(spec) as story`: a controller at work."""

    def __init__(self, spec: ServiceSpec = SPEC, supervisor: "FakeSupervisor | None" = None) -> None:
        self.supervisor = supervisor or FakeSupervisor()
        self.controller = InstanceController(self.supervisor.collaborators, spec, 1, "0badcafe", DesiredState())

    async def __aenter__(self) -> "Story":
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        self.nursery.start_soon(self.controller.run)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def state(self) -> ProcessState:
        return self.controller.state.process_state

    async def wait(self, seconds: float = 0.0) -> None:
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()

    def stop_immediately(self) -> None:
        """Stop everything without time for graceful stops."""
        self.controller.stop()
        self.supervisor.immediate_stop_requested.set()

    def kill(self) -> None:
        self.supervisor.processes[-1].die(-KILL)


async def test_failed_starts_come_with_growing_delays_until_the_instance_is_fatal(autojump_clock: object) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=4))) as story:
        story.supervisor.lifetime = 0.2
        await story.wait(60)
        starts = story.supervisor.times("started")
        gaps = [later - sooner - 0.2 for sooner, later in pairwise(starts)]
        assert len(starts) == 4
        for gap, delay in zip(gaps, (0.5, 1.0, 2.0), strict=True):
            assert 0.8 * delay <= gap <= 1.2 * delay + 0.001
        assert (story.state(), story.controller.state.reason) == (
            ProcessState.FATAL,
            "exit 1: 4 failed starts in a row",
        )
        (row,) = story.supervisor.store.snapshot.instances
        assert row.last_lines == ("last words",)
        story.controller.start()
        await story.wait(0.1)
        assert story.state() is ProcessState.STARTING


async def test_a_healthy_instance_restarts_at_once_the_first_time(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(5)
        assert story.state() is ProcessState.RUNNING
        story.kill()
        await story.wait()
        assert story.supervisor.times("started") == [0, 5]
        story.kill()
        await story.wait(0.7)
        assert len(story.supervisor.times("started")) == 3
        assert 5.4 <= story.supervisor.times("started")[-1] <= 5.6


async def test_dependencies_are_checked_again_at_every_start(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.supervisor.unmet = "waiting for db to be healthy"
        story.kill()
        await story.wait(30)
        assert (story.state(), story.controller.state.reason) == (ProcessState.PENDING, "waiting for db to be healthy")
        story.supervisor.unmet = "waiting for db to be healthy: db is fatal"
        story.supervisor.store.event("x", "something changed")
        await story.wait()
        assert story.controller.state.reason.endswith("db is fatal")
        story.supervisor.unmet = ""
        story.supervisor.store.event("x", "something changed")
        await story.wait()
        assert story.supervisor.times("started") == [0, 32]


async def test_a_stop_deregisters_then_drains_then_signals(autojump_clock: object) -> None:
    async with Story(replace(SPEC, stop=StopSpec(drain=0.3, timeout=4.0, command=("bye",)))) as story:
        await story.wait(2)
        story.controller.stop()
        await story.wait(1)
        assert [one for one in story.supervisor.happened if one[1] not in ("prepared", "started")] == [
            (2, "deregistered"),
            (2.31, "ran", "bye"),
            (2.31, "signal", TERM, 3.99),
            (2.41, "died", -TERM),
        ]
        assert story.supervisor.logs[-1].inserted == ["stop command: as asked"], "in its log, though it went well"
        assert (story.state(), story.controller.state.exit) == (ProcessState.STOPPED, Exit(-TERM))


@pytest.mark.parametrize(("ending", "known"), [(True, True), (False, False)])
async def test_a_stop_does_not_drain_where_no_request_can_come(
    autojump_clock: object, ending: bool, known: bool
) -> None:
    """The whole project is being stopped, or the instance was not registered."""
    async with Story() as story:
        await story.wait(2)
        story.supervisor.was_registered = known
        if ending:
            story.supervisor.stop_requested.set()
        story.controller.stop()
        await story.wait(1)
        assert story.supervisor.times("signal") == [2]


async def test_a_process_that_ignores_signals_is_killed_after_its_timeout_or_by_an_immediate_stop(
    autojump_clock: object,
) -> None:
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.supervisor.stop_delay = None
        await story.wait(2)
        story.controller.stop()
        await story.wait(8.5)
        assert story.state() is ProcessState.STOPPING
        events = [event.message for event in story.supervisor.store.events_since(0)]
        assert "x is not down 2 s after TERM: pid 1 (fake); KILL in 7 s" in events
        await story.wait(1)
        assert (story.state(), story.supervisor.times("died")) == (ProcessState.STOPPED, [11])
        story.controller.start()
        await story.wait(2)
        story.controller.stop()
        await story.wait(1)
        story.stop_immediately()
        await story.wait()
        assert story.state() is ProcessState.STOPPED
        assert story.supervisor.times("died")[1] == pytest.approx(14.5)


async def test_an_immediate_stop_also_kills_an_instance_that_was_to_start_again_after_its_stop(
    autojump_clock: object,
) -> None:
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.supervisor.stop_delay = None
        await story.wait(2)
        story.controller.stop()
        await story.wait(1)
        story.controller.start()
        await story.wait(1)
        story.stop_immediately()
        await story.wait()
        assert (story.state(), story.supervisor.times("died")) == (ProcessState.STOPPED, [4])


async def test_a_removed_instance_ignores_requests_to_start(autojump_clock: object) -> None:
    """A roll-out or a schedule may still make such requests while it stops."""
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.supervisor.stop_delay = 5.0
        await story.wait(2)
        story.controller.remove()
        await story.wait(1)
        story.controller.start()
        story.controller.restart()
        await story.wait(10)
        assert story.controller.finished.is_set()
        assert story.supervisor.alive == 0


async def test_a_hung_instance_is_ended_and_started_again(autojump_clock: object) -> None:
    health = HealthSpec("command", command=("ask",), interval=1.0, restart_after=3)
    async with Story(replace(SPEC, health=health)) as story:
        await story.wait(3.5)
        assert story.state() is ProcessState.RUNNING
        story.supervisor.check_status = 7
        await story.wait(4)
        reason = "check failed 3 times in a row: check command: exit 7: as asked"
        assert any(f"x backoff: {reason}" in event.message for event in story.supervisor.store.events_since(0))
        assert (len(story.supervisor.processes), story.controller.state.restarts) == (2, 1)
        story.supervisor.check_status = 0
        await story.wait(2)
        assert story.state() is ProcessState.RUNNING


async def test_a_start_on_a_taken_port_is_retried_and_names_the_process_that_has_it(autojump_clock: object) -> None:
    async with Story() as story:
        story.supervisor.start_error = PortTaken(
            "x: port 80 is taken by pid 9 (nginx) — set services.x.port or stop it"
        )
        await story.wait(0.1)
        assert story.state() is ProcessState.BACKOFF
        assert "pid 9 (nginx)" in story.controller.state.reason
        story.supervisor.start_error = None
        await story.wait(1)
        assert story.state() is ProcessState.STARTING
        story.supervisor.start_error = StartError("command not found: run")
        story.kill()
        await story.wait(10)
        assert (story.state(), story.controller.state.reason) == (ProcessState.FATAL, "command not found: run")


@pytest.mark.parametrize("blind", [False, True], ids=["start", "watch"])
async def test_a_shortage_is_retried_for_ever_whether_the_start_or_the_watch_fails(
    autojump_clock: object, blind: bool
) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=2))) as story:
        shortage = OSError(errno.EMFILE, "Too many open files")
        story.supervisor.start_error, story.supervisor.watch_error = (None, shortage) if blind else (shortage, None)
        await story.wait(120)
        assert len(story.supervisor.times("started")) > 5
        await story.supervisor.store.wait_for(lambda _: story.state() is ProcessState.BACKOFF)
        await story.wait()
        assert (story.state(), story.supervisor.alive) == (ProcessState.BACKOFF, 0)
        assert story.controller.state.reason == "Too many open files — trying again"
        story.supervisor.start_error = story.supervisor.watch_error = None
        await story.wait(60)
        assert (story.state(), story.supervisor.alive) == (ProcessState.RUNNING, 1)


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system", "/x"), KeyError("oops")])
async def test_a_defect_counts_as_a_failed_start_and_makes_one_instance_fatal_in_the_end(
    autojump_clock: object, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=3))) as story:
        story.supervisor.start_error = error
        await story.wait(60)
        assert (story.state(), len(story.supervisor.times("started"))) == (ProcessState.FATAL, 3)
        assert (
            "Read-only file system: /x" in story.controller.state.reason or "KeyError" in story.controller.state.reason
        )
        assert repr(error).partition("(")[0] in caplog.text


async def test_a_repeated_start_does_not_interrupt_the_start_that_is_under_way(autojump_clock: object) -> None:
    """Its preparation builds an image."""
    async with Story() as story:
        story.supervisor.prepare_delay = 60.0
        await story.wait(30)
        story.controller.start()
        await story.wait(31)
        assert story.supervisor.times("prepared") == [0]
        assert story.supervisor.times("started") == [60]
        story.controller.restart()
        await story.wait(30)
        story.controller.stop()
        await story.wait()
        assert story.state() is ProcessState.STOPPED
        assert len(story.supervisor.times("started")) == 1


async def test_nothing_is_started_while_the_project_stops(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.supervisor.stop_requested.set()
        story.controller.stop()
        story.controller.restart()
        story.controller.start()
        await story.wait(5)
        assert (story.state(), story.supervisor.times("started")) == (ProcessState.STOPPED, [0])


async def test_a_restart_raises_where_the_instance_cannot_be_started(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.supervisor.start_delay, story.supervisor.start_error = 0.4, StartError("command not found: nosuch")
        with pytest.raises(
            RolloutFailed, match=r"x did not come back: .*command not found: nosuch — see `minikube logs x`"
        ):
            await restart_instance(story.controller, story.supervisor.store)
        story.supervisor.start_error = None
        await restart_instance(story.controller, story.supervisor.store)
        assert story.state() is ProcessState.STARTING


async def test_a_restart_does_not_wait_for_an_instance_that_waits_for_a_dependency(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.supervisor.unmet = "waiting for y"
        before = trio.current_time()
        await restart_instance(story.controller, story.supervisor.store)
        assert story.state() is ProcessState.PENDING
        assert trio.current_time() - before < 1
        story.supervisor.unmet, story.supervisor.start_delay = "", 60.0
        before = trio.current_time()
        await restart_instance(story.controller, story.supervisor.store)
        assert trio.current_time() - before == pytest.approx(2)


async def test_an_instance_stopped_during_its_start_is_down_only_when_the_process_has_ended(
    autojump_clock: object,
) -> None:
    async with Story() as story:
        story.supervisor.start_delay = 0.4
        await story.wait(0.2)
        story.controller.stop()
        await story.supervisor.store.wait_for(lambda _: story.controller.is_down)
        assert [one.exit for one in story.supervisor.processes] == [Exit(-TERM)], "it was started, and ended"


ACTS = st.sampled_from(["start", "stop", "restart", "kill", "now", "missing", "there", "change", "slow"])
steps = st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.5, 70.0])), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_for_any_requests_there_is_never_a_second_process_and_the_last_request_holds(
    asked: list[tuple[str, float]],
) -> None:
    async def story_of() -> None:
        async with Story() as story:
            controller, supervisor = story.controller, story.supervisor
            wanted = True
            for act, seconds in asked:
                match act:
                    case "start":
                        controller.start()
                    case "stop":
                        controller.stop()
                    case "now":
                        story.stop_immediately()
                        supervisor.immediate_stop_requested.reset()
                    case "slow":
                        supervisor.start_delay = 0.4
                    case "restart":
                        controller.restart()
                    case "kill" if supervisor.processes:
                        story.kill()
                    case "missing" | "there":
                        supervisor.unmet = "waiting" if act == "missing" else ""
                    case "change":
                        supervisor.store.event("x", "something changed")
                wanted = act in ("start", "restart") or (wanted and act not in ("stop", "now"))
                assert not controller.is_down or supervisor.alive + supervisor.starting == 0
                await story.wait(seconds)
                assert not controller.is_down or supervisor.alive + supervisor.starting == 0
                assert supervisor.alive <= 1
            supervisor.unmet = ""
            supervisor.store.event("x", "something changed")
            await story.wait(200)
            assert supervisor.most <= 1
            assert story.state() is (ProcessState.RUNNING if wanted else ProcessState.STOPPED)
            assert supervisor.alive == wanted
            controller.remove()
            await story.wait(1)
            assert controller.finished.is_set()
            assert supervisor.alive == 0

    trio.run(story_of, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_start_raises_where_the_instance_cannot_be_started(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        await wait_started([story.controller], story.supervisor.store, "cannot be started")
        story.controller.stop()
        await story.wait(2)
        story.supervisor.start_delay, story.supervisor.start_error = 0.4, StartError("command not found: nosuch")
        story.controller.start()
        await story.supervisor.store.wait_for(lambda _: story.state() is not ProcessState.STOPPED)
        with pytest.raises(RolloutFailed, match="x cannot be started: command not found: nosuch"):
            await wait_started([story.controller], story.supervisor.store, "cannot be started")
