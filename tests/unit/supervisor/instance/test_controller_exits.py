"""Exits of an instance's process while something else happens, in virtual time: late results, defects, requests."""

import errno
from collections.abc import Callable

import pytest
import trio
from msgspec.structs import replace

from minikube.errors import StartError
from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec, StopSpec
from minikube.model import ProcessState
from minikube.supervisor.runtime.exit_status import Exit
from tests.unit.supervisor.instance.fakes import KILL, SPEC, FakeLog, FakeProcess, FakeSupervisor, Story


class ReadyLog(FakeLog):
    """Prints the line that a `log` check waits for after a second."""

    def expect(self, pattern: str, found: object) -> None:
        assert callable(found)
        self._found: Callable[[], object] = found

    async def read(self, descriptor: int, stream: str) -> None:
        if stream == "stdout":
            await trio.sleep(1)
            self._found()


class ReadySupervisor(FakeSupervisor):
    """Notes deregistrations, too."""

    def open_log(self, spec: ServiceSpec) -> FakeLog:
        return ReadyLog(spec)

    def deregister_soon(self, id: str) -> None:
        self.note("deregistered soon")


@pytest.mark.parametrize("attempt", range(12), ids=str)
async def test_the_result_of_a_check_of_a_dead_process_is_not_reported(autojump_clock: object, attempt: int) -> None:
    """The process dies right after the line; the order in which the tasks go on is random."""
    health = HealthSpec("log", log="ready")
    spec = replace(SPEC, register="supervisor", port=8080, health=health, restart=RestartSpec(policy="never"))
    story = Story(spec, ReadySupervisor())
    story.supervisor.lifetime, story.supervisor.port = 1.0, 8080
    async with story:
        await story.wait(5)
        noted = [kind for _, kind, *_ in story.supervisor.happened if kind in ("reported", "deregistered soon")]
        assert noted in (["deregistered soon"], ["reported", "deregistered soon"])


@pytest.mark.parametrize("status", [0, 1])
async def test_an_exit_counts_once_though_the_cleaning_up_after_it_fails(
    autojump_clock: object, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []

    async def end(process: FakeProcess, number: int, timeout: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        ended.append(number)
        if len(ended) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return []

    monkeypatch.setattr(FakeProcess, "end", end)
    async with Story(replace(SPEC, restart=RestartSpec(policy="never"))) as story:
        await story.wait(2)
        story.supervisor.processes[-1].die(status)
        await story.wait(30)
        state = story.controller.state
        assert (state.process_state, state.exit, state.completed) == (ProcessState.EXITED, Exit(status), status == 0)
        assert (len(story.supervisor.times("started")), story.supervisor.alive) == (1, 0)
        assert ended == [KILL, KILL], "the process tree was killed again"
    assert "Too many open files" in caplog.text


async def test_a_stop_is_seen_at_once_though_all_dependencies_have_just_been_met(autojump_clock: object) -> None:
    """The stop comes between the last dependency and the build of an image."""
    story = Story()
    story.supervisor.prepare_delay = 600.0

    def unmet_dependency(spec: ServiceSpec) -> str:
        if not story.supervisor.times("checked"):
            story.supervisor.note("checked")
            story.controller.stop()
        return ""

    story.supervisor.unmet_dependency = unmet_dependency  # type: ignore[method-assign]
    async with story:
        await story.wait(1)
        assert story.supervisor.times("checked") == [0]
        assert (story.state(), story.supervisor.times("started")) == (ProcessState.STOPPED, [])


async def test_a_started_process_is_ended_where_recording_it_fails(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story()
    record_processes, story.supervisor.start_delay = story.supervisor.record_processes, 0.1

    def fails_once() -> None:
        story.supervisor.record_processes = record_processes  # type: ignore[method-assign]
        raise RuntimeError("a defect")

    story.supervisor.record_processes = fails_once  # type: ignore[method-assign]
    async with story:
        await story.wait(5)
        assert [process.exit for process in story.supervisor.processes] == [Exit(-KILL), None]
        assert (story.supervisor.most, story.supervisor.alive, story.state()) == (1, 1, ProcessState.RUNNING)
    assert "a defect" in caplog.text


async def test_a_start_that_a_stop_interrupts_is_no_failed_start(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is shown only where it is a defect of the supervisor."""
    story = Story()
    story.supervisor.start_delay = 5.0
    async with story:
        for error in (StartError("nope"), KeyError("oops")):
            story.supervisor.start_error = error
            await story.wait(1)
            story.controller.stop()
            await story.wait(10)
            assert (story.state(), story.controller.state.failed_starts) == (ProcessState.STOPPED, 0)
            story.controller.start()
        story.controller.stop()
        await story.wait(10)
        assert not [event for event in story.supervisor.store.events_since(0) if "nope" in event.message]
    logged = caplog.text
    assert "oops" in logged
    assert "nope" not in logged


@pytest.mark.parametrize("immediate", [False, True])
async def test_a_drain_ends_when_the_project_stops(autojump_clock: object, immediate: bool) -> None:
    """The instance is being restarted, and drains."""
    async with Story(replace(SPEC, stop=StopSpec(drain=30.0, timeout=4.0))) as story:
        await story.wait(2)
        story.controller.restart()
        await story.wait(1)
        assert story.supervisor.times("signal") == []
        (story.supervisor.immediate_stop_requested if immediate else story.supervisor.stop_requested).set()
        story.controller.stop()
        await story.wait(1)
        assert (story.supervisor.times("signal"), story.state()) == ([3], ProcessState.STOPPED)


async def test_a_requested_start_is_shown_at_once_with_its_own_time(autojump_clock: object) -> None:
    async with Story() as story:
        story.supervisor.start_error = StartError("nope")
        await story.wait(1)
        assert story.state() is ProcessState.FATAL
        story.controller.state_since = 1.0
        story.supervisor.start_error = None
        story.controller.start()
        (row,) = story.supervisor.store.snapshot.instances
        assert (row.state, row.since > 1.0, row.reason) == (ProcessState.PENDING, True, "")
        await story.wait(2)
        assert story.state() is ProcessState.RUNNING
