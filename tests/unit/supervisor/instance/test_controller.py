"""The controller of one instance in virtual time: what is started, signalled and recorded, and when."""

import errno
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.errors import PortTaken, StartError
from minikube.manifest import HealthSpec, RestartSpec, StopSpec
from minikube.model import ProcessState
from minikube.supervisor.reconcile.errors import RolloutFailed
from minikube.supervisor.reconcile.rollout.single import restart_instance, wait_started
from minikube.supervisor.runtime.exit_status import Exit
from tests.unit.supervisor.instance.fakes import SPEC, TERM, Story


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


async def test_a_start_without_a_failed_optional_dependency_is_an_event_once(autojump_clock: object) -> None:
    async with Story() as story:
        await story.wait(2)
        story.supervisor.skipped = ("cache: cache is fatal",)
        for _ in range(3):
            story.kill()
            await story.wait(5)
        story.supervisor.skipped = ("cache: cache has ended: exit 1",)
        story.kill()
        await story.wait(5)
        texts = [
            event.message
            for event in story.supervisor.store.events_since(0)
            if event.kind == "instance.dependency_skipped"
        ]
        assert texts == ["x starts without cache: cache is fatal", "x starts without cache: cache has ended: exit 1"]


async def test_a_value_that_an_edit_moves_to_a_file_is_masked_from_then_on(autojump_clock: object) -> None:
    """Its process goes on: the environment stays the same."""
    async with Story(replace(SPEC, env={"A": "word"})) as story:
        await story.wait(2)
        assert "word" not in story.supervisor.logs[-1].masked
        story.controller.adjust(replace(SPEC, file_env={"A": "word"}))
        assert "word" in story.supervisor.logs[-1].masked
        assert not story.controller.is_outdated


async def test_a_stop_deregisters_then_drains_then_signals(autojump_clock: object) -> None:
    async with Story(replace(SPEC, stop=StopSpec(drain=0.3, timeout=4.0, command=("bye",)))) as story:
        await story.wait(2)
        story.controller.stop()
        await story.wait(1)
        assert [event for event in story.supervisor.happened if event[1] not in ("prepared", "started")] == [
            (2, "deregistered"),
            (2.31, "ran", "bye"),
            (2.31, "signal", TERM, 3.99),
            (2.41, "died", -TERM),
        ]
        assert story.supervisor.logs[-1].inserted == ["stop command: as asked"], "in its log, though it went well"
        assert (story.state(), story.controller.state.exit) == (ProcessState.STOPPED, Exit(-TERM))


@pytest.mark.parametrize(("shutdown", "registered"), [(True, True), (False, False)])
async def test_a_stop_does_not_drain_where_no_request_can_come(
    autojump_clock: object, shutdown: bool, registered: bool
) -> None:
    """The whole project is being stopped, or the instance was not registered."""
    async with Story() as story:
        await story.wait(2)
        story.supervisor.was_registered = registered
        if shutdown:
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


@pytest.mark.parametrize("watch_fails", [False, True], ids=["start", "watch"])
async def test_a_shortage_is_retried_for_ever_whether_the_start_or_the_watch_fails(
    autojump_clock: object, watch_fails: bool
) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=2))) as story:
        shortage = OSError(errno.EMFILE, "Too many open files")
        story.supervisor.start_error, story.supervisor.watch_error = (
            (None, shortage) if watch_fails else (shortage, None)
        )
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


@pytest.mark.parametrize("verb", ["restart", "start"])
async def test_a_start_that_takes_long_is_waited_for_and_fails_after_a_minute(
    autojump_clock: object, verb: str
) -> None:
    """On a loaded machine a fork takes seconds; until it is done, it is not known whether the command can be executed."""

    async def act(story: Story) -> None:
        if verb == "restart":
            await restart_instance(story.controller, story.supervisor.store)
        else:
            story.controller.stop()
            await story.supervisor.store.wait_for(lambda _: story.controller.is_down)
            story.controller.start()
            await wait_started([story.controller], story.supervisor.store, "did not come back")

    async with Story() as story:
        await story.wait(2)
        story.supervisor.start_delay, story.supervisor.start_error = 50.0, StartError("command not found: nosuch")
        with pytest.raises(RolloutFailed, match="command not found: nosuch"):
            await act(story)
        story.supervisor.start_error = None
        await act(story)
        assert story.state() is ProcessState.STARTING
        story.supervisor.start_delay = 200.0
        before = trio.current_time()
        with pytest.raises(RolloutFailed, match=r"x did not come back: its process was not started within .* goes on"):
            await act(story)
        assert 60 <= trio.current_time() - before < 100
        story.controller.stop()


async def test_an_instance_stopped_during_its_start_is_down_only_when_the_process_has_ended(
    autojump_clock: object,
) -> None:
    async with Story() as story:
        story.supervisor.start_delay = 0.4
        await story.wait(0.2)
        story.controller.stop()
        await story.supervisor.store.wait_for(lambda _: story.controller.is_down)
        assert [process.exit for process in story.supervisor.processes] == [Exit(-TERM)], "it was started, and ended"


async def test_an_instance_stopped_and_started_again_during_its_start_follows_the_edited_manifest(
    autojump_clock: object,
) -> None:
    """The start that is under way cannot be interrupted, and makes a process of the manifest before."""
    async with Story() as story:
        story.supervisor.start_delay = 0.4
        await story.wait(0.2)
        story.controller.stop()
        story.controller.adjust(replace(SPEC, env={"V": "2"}))
        story.controller.start()
        await story.wait(5)
        assert [process.exit for process in story.supervisor.processes] == [Exit(-TERM), None]
        assert story.controller.launched_spec.env == {"V": "2"}
        assert (story.state(), story.controller.is_outdated) == (ProcessState.RUNNING, False)


ACTS = st.sampled_from(["start", "stop", "restart", "kill", "stop immediately", "unmet", "met", "change", "slow"])
request_lists = st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.5, 70.0])), max_size=25)


@settings(max_examples=60, deadline=None)
@given(request_lists)
def test_for_any_requests_there_is_never_a_second_process_and_the_last_request_holds(
    requests: list[tuple[str, float]],
) -> None:
    async def run_story() -> None:
        async with Story() as story:
            controller, supervisor = story.controller, story.supervisor
            wanted = True
            for act, seconds in requests:
                match act:
                    case "start":
                        controller.start()
                    case "stop":
                        controller.stop()
                    case "stop immediately":
                        story.stop_immediately()
                        supervisor.immediate_stop_requested.reset()
                    case "slow":
                        supervisor.start_delay = 0.4
                    case "restart":
                        controller.restart()
                    case "kill" if supervisor.processes:
                        story.kill()
                    case "unmet" | "met":
                        supervisor.unmet = "waiting" if act == "unmet" else ""
                    case "change":
                        supervisor.store.event("x", "something changed")
                wanted = act in ("start", "restart") or (wanted and act not in ("stop", "stop immediately"))
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

    trio.run(run_story, clock=trio.testing.MockClock(autojump_threshold=0))


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
