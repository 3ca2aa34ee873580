"""How an instance's life ends when something comes in between, in virtual time: late words, defects, other wishes."""

import errno
from collections.abc import Callable

import pytest
import trio
from msgspec.structs import replace

from minikube.errors import StartError
from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec, StopSpec
from minikube.model import ProcessState
from minikube.supervisor.runtime.exit_status import Exit
from tests.unit.supervisor.instance.test_controller import KILL, SPEC, Fake, Home, Output, Story


class Talking(Output):
    """Prints the line that a `log` check waits for after a second."""

    def expect(self, pattern: str, found: object) -> None:
        assert callable(found)
        self._found: Callable[[], object] = found

    async def read(self, descriptor: int, stream: str) -> None:
        if stream == "stdout":
            await trio.sleep(1)
            self._found()


class Telling(Home):
    """Writes down who is out of discovery, too."""

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Output:
        return Talking(spec)

    def gone(self, id: str) -> None:
        self.note("gone")


@pytest.mark.parametrize("attempt", range(12), ids=str)
async def test_what_a_check_finds_of_a_dead_one_is_told_to_nobody(autojump_clock: object, attempt: int) -> None:
    """It dies right after the line: in which order its tasks go on is chance."""
    health = HealthSpec("log", log="ready")
    spec = replace(SPEC, register="supervisor", port=8080, health=health, restart=RestartSpec(policy="never"))
    story = Story(spec, Telling())
    story.home.lives, story.home.port = 1.0, 8080
    async with story:
        await story.wait(5)
        told = [kind for _, kind, *_ in story.home.happened if kind in ("reported", "gone")]
        assert told in (["gone"], ["reported", "gone"])


@pytest.mark.parametrize("status", [0, 1])
async def test_an_end_counts_once_though_tidying_up_after_it_fails(
    autojump_clock: object, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []

    async def end(process: Fake, number: int, timeout: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        ended.append(number)
        if len(ended) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return []

    monkeypatch.setattr(Fake, "end", end)
    async with Story(replace(SPEC, restart=RestartSpec(policy="never"))) as story:
        await story.wait(2)
        story.home.processes[-1].die(status)
        await story.wait(30)
        life = story.runner.life
        assert (life.state, life.exit, life.completed) == (ProcessState.EXITED, Exit(status), status == 0)
        assert (len(story.home.times("started")), story.home.alive) == (1, 0)
        assert ended == [KILL, KILL], "what outlived it had another try"
    assert "Too many open files" in capsys.readouterr().err


async def test_a_stop_is_seen_at_once_though_all_that_it_waited_for_is_there(autojump_clock: object) -> None:
    """The stop comes between the last dependency and the build of an image."""
    story = Story()
    story.home.prepares = 600.0

    def unmet(spec: ServiceSpec) -> str:
        if not story.home.times("asked"):
            story.home.note("asked")
            story.runner.stop()
        return ""

    story.home.unmet = unmet  # type: ignore[method-assign]
    async with story:
        await story.wait(1)
        assert story.home.times("asked") == [0]
        assert (story.state(), story.home.times("started")) == (ProcessState.STOPPED, [])


async def test_what_was_started_is_ended_where_telling_of_it_fails(
    autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story()
    recorded, story.home.begins = story.home.recorded, 0.1

    def fails_once() -> None:
        story.home.recorded = recorded  # type: ignore[method-assign]
        raise RuntimeError("a defect")

    story.home.recorded = fails_once  # type: ignore[method-assign]
    async with story:
        await story.wait(5)
        assert [one.exit for one in story.home.processes] == [Exit(-KILL), None]
        assert (story.home.most, story.home.alive, story.state()) == (1, 1, ProcessState.RUNNING)
    assert "a defect" in capsys.readouterr().err


async def test_a_start_that_is_undone_is_nobodys_failure(
    autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told of where something else was asked for meanwhile only if it is a defect of ours."""
    story = Story()
    story.home.begins = 5.0
    async with story:
        for error in (StartError("nope"), KeyError("oops")):
            story.home.refuses = error
            await story.wait(1)
            story.runner.stop()
            await story.wait(10)
            assert (story.state(), story.runner.life.failed_starts) == (ProcessState.STOPPED, 0)
            story.runner.start()
        story.runner.stop()
        await story.wait(10)
        assert not [one.message for one in story.home.board.events_since(0) if "nope" in one.message]
    told = capsys.readouterr().err
    assert "oops" in told
    assert "nope" not in told


@pytest.mark.parametrize("at_once", [False, True])
async def test_nobody_drains_any_more_once_everything_stops(autojump_clock: object, at_once: bool) -> None:
    """It was being restarted, with its drain under way."""
    async with Story(replace(SPEC, stop=StopSpec(drain=30.0, timeout=4.0))) as story:
        await story.wait(2)
        story.runner.restart()
        await story.wait(1)
        assert story.home.times("signal") == []
        (story.home.at_once if at_once else story.home.ending).set()
        story.runner.stop()
        await story.wait(1)
        assert (story.home.times("signal"), story.state()) == ([3], ProcessState.STOPPED)


async def test_a_start_by_hand_is_shown_at_once_with_its_own_time(autojump_clock: object) -> None:
    async with Story() as story:
        story.home.refuses = StartError("nope")
        await story.wait(1)
        assert story.state() is ProcessState.FATAL
        story.runner.since = 1.0
        story.home.refuses = None
        story.runner.start()
        (row,) = story.home.board.snapshot.instances
        assert (row.state, row.since > 1.0, row.reason) == (ProcessState.PENDING, True, "")
        await story.wait(2)
        assert story.state() is ProcessState.RUNNING
