"""An instance's runner in virtual time: what is started, signalled and told, and when."""

import errno
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.control.state_store import StateStore
from minikube.errors import PortTaken, StartError
from minikube.health.prober import Prober
from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec, StopSpec
from minikube.model import Instance, ProcessState, Registration
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.reconcile.rollout import RolloutFailed, restart_alone, see_begin
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import ExecResult, Launch

TERM, KILL = 15, 9
SPEC = ServiceSpec("x", Path("/"), ("run",), register="none")


class Output:
    """A capture of nothing."""

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


class Fake:
    """Implements `Running`: dies by itself after `lives` seconds, obeys a signal after `obeys`; deaf where that is None."""

    stdout = stderr = -1
    host = "127.0.0.1"
    env: Mapping[str, str] = {}

    def __init__(self, home: "Home", pid: int) -> None:
        self.pid = pid
        self.port = home.port
        self.exited = trio.Event()
        self.exit: Exit | None = None
        self._home = home

    def die(self, status: int) -> None:
        if self.exit is None:
            self.exit = Exit(status)
            self._home.note("died", status)
            self.exited.set()

    async def wait_exit(self) -> Exit:
        if self._home.blind and self.exit is None:
            await trio.sleep(0.2)
            raise self._home.blind
        with trio.move_on_after(self._home.lives):
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
        self._home.note("signal", number, timeout)
        try:
            with trio.move_on_after(timeout):
                if self._home.obeys is not None and number != KILL:
                    await trio.sleep(self._home.obeys)
                    self.die(-number)
                await self.exited.wait()
            return self.describe_alive()
        finally:
            self.die(-KILL)

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        await trio.sleep(0.01)
        self._home.note("ran", *argv)
        return ExecResult(Exit(self._home.check), "as asked")

    def close(self) -> None:
        self._home.alive -= 1


class Home:
    """Implements `instance.Home`, and the runtime: what happens is written down with its time."""

    def __init__(self) -> None:
        self.board = StateStore("test")
        self.prober = Prober()
        self.ending = CancelEvent()
        self.lives = float("inf")
        self.port = 0
        self.obeys: float | None = 0.1
        self.check = 0
        self.missing = ""
        self.refuses: Exception | None = None
        self.blind: Exception | None = None
        """What watching a process comes to."""
        self.prepares = self.begins = 0.0
        """How long a start takes, after what it needs, which is not to be interrupted."""
        self.was_known = True
        self.link = self
        self.at_once = CancelEvent()
        self.alive = self.most = self.starting = 0
        self.happened: list[tuple[Any, ...]] = []
        self.processes: list[Fake] = []
        self.outputs: list[Output] = []
        self._began = trio.current_time()

    def note(self, *what: object) -> None:
        self.happened.append((round(trio.current_time() - self._began, 6), *what))

    def times(self, what: str) -> list[float]:
        return [time for time, kind, *_ in self.happened if kind == what]

    def runtime(self, spec: ServiceSpec) -> "Home":
        return self

    async def prepare(self, spec: ServiceSpec, output: object, tell: object) -> None:
        self.note("prepared")
        await trio.sleep(self.prepares)

    async def start(self, launch: Launch) -> Fake:
        self.note("started")
        self.starting += 1
        try:
            return await self._start()
        finally:
            self.starting -= 1

    async def _start(self) -> Fake:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(self.begins)
        if self.refuses:
            raise self.refuses
        self.alive += 1
        self.most = max(self.most, self.alive)
        self.processes.append(Fake(self, len(self.processes) + 1))
        return self.processes[-1]

    def taken_ports(self, id: str) -> frozenset[int]:
        return frozenset()

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Any:
        self.outputs.append(Output(spec))
        return self.outputs[-1]

    def unmet(self, spec: ServiceSpec) -> str:
        return self.missing

    def recorded(self) -> None: ...

    def next_run(self, name: str) -> float:
        return 0.0

    def begun(self, id: str, since: Generation) -> None:
        return None

    def want(self, id: str, registration: Registration | None) -> None: ...

    def known(self, id: str) -> Instance | None:
        return None

    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        self.note("reported", passing)

    def gone(self, id: str) -> None: ...

    async def left(self, id: str) -> bool:
        self.note("left")
        await trio.lowlevel.checkpoint()
        return self.was_known


class Story:
    """`async with Story(spec) as story`: a runner at work."""

    def __init__(self, spec: ServiceSpec = SPEC, home: "Home | None" = None) -> None:
        self.home = home or Home()
        self.runner = InstanceController(self.home, spec, 1, "0badcafe", DesiredState())

    async def __aenter__(self) -> "Story":
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        self.nursery.start_soon(self.runner.run)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def state(self) -> ProcessState:
        return self.runner.life.state

    async def wait(self, seconds: float = 0.0) -> None:
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()

    def hurry(self) -> None:
        """Everything is stopped at once."""
        self.runner.stop()
        self.home.at_once.set()

    def kill(self) -> None:
        self.home.processes[-1].die(-KILL)


async def test_failed_starts_come_later_and_later_until_it_is_fatal(autojump_clock: object) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=4))) as story:
        story.home.lives = 0.2
        await story.wait(60)
        starts = story.home.times("started")
        gaps = [later - sooner - 0.2 for sooner, later in pairwise(starts)]
        assert len(starts) == 4
        for gap, delay in zip(gaps, (0.5, 1.0, 2.0), strict=True):
            assert 0.8 * delay <= gap <= 1.2 * delay + 0.001
        assert (story.state(), story.runner.life.reason) == (ProcessState.FATAL, "exit 1: 4 failed starts in a row")
        (row,) = story.home.board.snapshot.instances
        assert row.last_lines == ("last words",)
        story.runner.start()
        await story.wait(0.1)
        assert story.state() is ProcessState.STARTING


async def test_a_well_one_is_back_at_once(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(5)
        assert story.state() is ProcessState.RUNNING
        story.kill()
        await story.wait()
        assert story.home.times("started") == [0, 5]
        story.kill()
        await story.wait(0.7)
        assert len(story.home.times("started")) == 3
        assert 5.4 <= story.home.times("started")[-1] <= 5.6


async def test_dependencies_are_looked_at_again_at_every_start(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.home.missing = "waiting for db to be healthy"
        story.kill()
        await story.wait(30)
        assert (story.state(), story.runner.life.reason) == (ProcessState.PENDING, "waiting for db to be healthy")
        story.home.missing = "waiting for db to be healthy: db is fatal"
        story.home.board.event("x", "something changed")
        await story.wait()
        assert story.runner.life.reason.endswith("db is fatal")
        story.home.missing = ""
        story.home.board.event("x", "something changed")
        await story.wait()
        assert story.home.times("started") == [0, 32]


async def test_it_leaves_discovery_then_drains_then_is_signalled(autojump_clock: object) -> None:
    async with Story(replace(SPEC, stop=StopSpec(drain=0.3, timeout=4.0, command=("bye",)))) as story:
        await story.wait(2)
        story.runner.stop()
        await story.wait(1)
        assert [one for one in story.home.happened if one[1] not in ("prepared", "started")] == [
            (2, "left"),
            (2.31, "ran", "bye"),
            (2.31, "signal", TERM, 3.99),
            (2.41, "died", -TERM),
        ]
        assert story.home.outputs[-1].inserted == ["stop command: as asked"], "in its log, though it went well"
        assert (story.state(), story.runner.life.exit) == (ProcessState.STOPPED, Exit(-TERM))


@pytest.mark.parametrize(("ending", "known"), [(True, True), (False, False)])
async def test_nobody_waits_for_what_cannot_come(autojump_clock: object, ending: bool, known: bool) -> None:
    """Everything is being stopped, or it was in nobody's list."""
    async with Story() as story:
        await story.wait(2)
        story.home.was_known = known
        if ending:
            story.home.ending.set()
        story.runner.stop()
        await story.wait(1)
        assert story.home.times("signal") == [2]


async def test_a_deaf_one_is_killed_in_the_end_and_at_once_when_there_is_no_time(autojump_clock: object) -> None:
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.home.obeys = None
        await story.wait(2)
        story.runner.stop()
        await story.wait(8.5)
        assert story.state() is ProcessState.STOPPING
        events = [event.message for event in story.home.board.events_since(0)]
        assert "x is not down 2 s after TERM: pid 1 (fake); KILL in 7 s" in events
        await story.wait(1)
        assert (story.state(), story.home.times("died")) == (ProcessState.STOPPED, [11])
        story.runner.start()
        await story.wait(2)
        story.runner.stop()
        await story.wait(1)
        story.hurry()
        await story.wait()
        assert story.state() is ProcessState.STOPPED
        assert story.home.times("died")[1] == pytest.approx(14.5)


async def test_there_is_no_time_for_one_either_that_was_wanted_again_while_it_stops(autojump_clock: object) -> None:
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.home.obeys = None
        await story.wait(2)
        story.runner.stop()
        await story.wait(1)
        story.runner.start()
        await story.wait(1)
        story.hurry()
        await story.wait()
        assert (story.state(), story.home.times("died")) == (ProcessState.STOPPED, [4])


async def test_who_is_removed_is_not_wanted_again(autojump_clock: object) -> None:
    """A roll-out or a schedule may still have it in its hands while it ends."""
    async with Story(replace(SPEC, stop=StopSpec(timeout=9.0, drain=0.0))) as story:
        story.home.obeys = 5.0
        await story.wait(2)
        story.runner.remove()
        await story.wait(1)
        story.runner.start()
        story.runner.restart()
        await story.wait(10)
        assert story.runner.finished.is_set()
        assert story.home.alive == 0


async def test_a_hung_one_is_ended_and_started_again(autojump_clock: object) -> None:
    health = HealthSpec("command", command=("ask",), interval=1.0, restart_after=3)
    async with Story(replace(SPEC, health=health)) as story:
        await story.wait(3.5)
        assert story.state() is ProcessState.RUNNING
        story.home.check = 7
        await story.wait(4)
        reason = "check failed 3 times in a row: check command: exit 7: as asked"
        assert any(f"x backoff: {reason}" in event.message for event in story.home.board.events_since(0))
        assert (len(story.home.processes), story.runner.life.restarts) == (2, 1)
        story.home.check = 0
        await story.wait(2)
        assert story.state() is ProcessState.RUNNING


async def test_a_taken_port_is_tried_again_and_says_who_has_it(autojump_clock: object) -> None:
    async with Story() as story:
        story.home.refuses = PortTaken("x: port 80 is taken by pid 9 (nginx) — set services.x.port or stop it")
        await story.wait(0.1)
        assert story.state() is ProcessState.BACKOFF
        assert "pid 9 (nginx)" in story.runner.life.reason
        story.home.refuses = None
        await story.wait(1)
        assert story.state() is ProcessState.STARTING
        story.home.refuses = StartError("command not found: run")
        story.kill()
        await story.wait(10)
        assert (story.state(), story.runner.life.reason) == (ProcessState.FATAL, "command not found: run")


@pytest.mark.parametrize("blind", [False, True], ids=["start", "watch"])
async def test_a_shortage_is_tried_again_for_ever_wherever_it_shows(autojump_clock: object, blind: bool) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=2))) as story:
        shortage = OSError(errno.EMFILE, "Too many open files")
        story.home.refuses, story.home.blind = (None, shortage) if blind else (shortage, None)
        await story.wait(120)
        assert len(story.home.times("started")) > 5
        await story.home.board.wait_for(lambda _: story.state() is ProcessState.BACKOFF)
        await story.wait()
        assert (story.state(), story.home.alive) == (ProcessState.BACKOFF, 0)
        assert story.runner.life.reason == "Too many open files — trying again"
        story.home.refuses = story.home.blind = None
        await story.wait(60)
        assert (story.state(), story.home.alive) == (ProcessState.RUNNING, 1)


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system", "/x"), KeyError("oops")])
async def test_a_defect_ends_one_life_and_in_the_end_one_instance(
    autojump_clock: object, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=3))) as story:
        story.home.refuses = error
        await story.wait(60)
        assert (story.state(), len(story.home.times("started"))) == (ProcessState.FATAL, 3)
        assert "Read-only file system: /x" in story.runner.life.reason or "KeyError" in story.runner.life.reason
        assert repr(error).partition("(")[0] in capsys.readouterr().err


async def test_who_asks_for_what_begins_already_does_not_make_it_begin_anew(autojump_clock: object) -> None:
    """An image is being built."""
    async with Story() as story:
        story.home.prepares = 60.0
        await story.wait(30)
        story.runner.start()
        await story.wait(31)
        assert story.home.times("prepared") == [0]
        assert story.home.times("started") == [60]
        story.runner.restart()
        await story.wait(30)
        story.runner.stop()
        await story.wait()
        assert story.state() is ProcessState.STOPPED
        assert len(story.home.times("started")) == 1


async def test_nothing_is_begun_while_everything_ends(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.home.ending.set()
        story.runner.stop()
        story.runner.restart()
        story.runner.start()
        await story.wait(5)
        assert (story.state(), story.home.times("started")) == (ProcessState.STOPPED, [0])


async def test_a_restart_tells_what_cannot_be_started(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.home.begins, story.home.refuses = 0.4, StartError("command not found: nosuch")
        with pytest.raises(
            RolloutFailed, match=r"x did not come back: .*command not found: nosuch — see `minikube logs x`"
        ):
            await restart_alone(story.runner, story.home.board)
        story.home.refuses = None
        await restart_alone(story.runner, story.home.board)
        assert story.state() is ProcessState.STARTING


async def test_a_restart_does_not_wait_for_what_waits(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.home.missing = "waiting for y"
        before = trio.current_time()
        await restart_alone(story.runner, story.home.board)
        assert story.state() is ProcessState.PENDING
        assert trio.current_time() - before < 1
        story.home.missing, story.home.begins = "", 60.0
        before = trio.current_time()
        await restart_alone(story.runner, story.home.board)
        assert trio.current_time() - before == pytest.approx(2)


async def test_what_is_stopped_while_it_is_started_is_not_down_before_that_is_undone(autojump_clock: object) -> None:
    async with Story() as story:
        story.home.begins = 0.4
        await story.wait(0.2)
        story.runner.stop()
        await story.home.board.wait_for(lambda _: story.runner.is_down)
        assert [one.exit for one in story.home.processes] == [Exit(-TERM)], "it was started, and ended"


ACTS = st.sampled_from(["start", "stop", "restart", "kill", "now", "missing", "there", "change", "slow"])
steps = st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.5, 70.0])), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_is_asked_there_is_never_a_second_process_and_the_last_wish_holds(
    asked: list[tuple[str, float]],
) -> None:
    async def story_of() -> None:
        async with Story() as story:
            runner, home = story.runner, story.home
            wanted = True
            for act, seconds in asked:
                match act:
                    case "start":
                        runner.start()
                    case "stop":
                        runner.stop()
                    case "now":
                        story.hurry()
                        home.at_once = CancelEvent()
                    case "slow":
                        home.begins = 0.4
                    case "restart":
                        runner.restart()
                    case "kill" if home.processes:
                        story.kill()
                    case "missing" | "there":
                        home.missing = "waiting" if act == "missing" else ""
                    case "change":
                        home.board.event("x", "something changed")
                wanted = act in ("start", "restart") or (wanted and act not in ("stop", "now"))
                assert not runner.is_down or home.alive + home.starting == 0
                await story.wait(seconds)
                assert not runner.is_down or home.alive + home.starting == 0
                assert home.alive <= 1
            home.missing = ""
            home.board.event("x", "something changed")
            await story.wait(200)
            assert home.most <= 1
            assert story.state() is (ProcessState.RUNNING if wanted else ProcessState.STOPPED)
            assert home.alive == wanted
            runner.remove()
            await story.wait(1)
            assert runner.finished.is_set()
            assert home.alive == 0

    trio.run(story_of, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_start_tells_what_cannot_be_started_and_does_not_wait_for_what_waits(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        await see_begin([story.runner], story.home.board, "cannot be started")
        story.runner.stop()
        await story.wait(2)
        story.home.begins, story.home.refuses = 0.4, StartError("command not found: nosuch")
        story.runner.start()
        await story.home.board.wait_for(lambda _: story.state() is not ProcessState.STOPPED)
        with pytest.raises(RolloutFailed, match="x cannot be started: command not found: nosuch"):
            await see_begin([story.runner], story.home.board, "cannot be started")
