"""Which ends of a process are reported as ends for good: after the restart policy, and not those that a request made."""

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.errors import PortTaken, StartError
from minikube.manifest import HealthSpec, RestartSpec
from minikube.model import ProcessState
from tests.unit.supervisor.instance.fakes import SPEC, Story

NEVER = replace(SPEC, restart=RestartSpec("never"))
ACTS = st.sampled_from(["start", "stop", "restart", "queue", "unqueue", "exit 0", "exit 3", "kill", "shutdown"])
act_lists = st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.05, 2.0])), max_size=20)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["never", "on-failure", "always"]), act_lists)
@example("never", [("queue", 0.0), ("exit 3", 0.0), ("unqueue", 0.0), ("start", 2.0), ("exit 3", 0.0)])
@example("never", [("stop", 0.05), ("exit 3", 0.0)])
@example("never", [("stop", 0.0), ("start", 0.0), ("exit 0", 0.0)])
def test_for_any_requests_and_exits_the_reported_ends_are_those_that_nothing_follows(
    policy: str, acts: list[tuple[str, float]]
) -> None:
    """Compare with a model: an exit of a healthy process counts unless the policy restarts it, or a request was made before."""

    async def run_story() -> None:
        spec = replace(SPEC, restart=RestartSpec(policy, limit=1000))  # type: ignore[arg-type]
        async with Story(spec) as story:
            controller, supervisor = story.controller, story.supervisor
            await story.wait(2)
            expected = 0
            for act, seconds in acts:
                match act.split():
                    case ["start"]:
                        controller.start()
                    case ["stop"]:
                        controller.stop()
                    case ["restart"]:
                        controller.restart()
                    case ["queue"]:
                        controller.queue_restart()
                    case ["unqueue"]:
                        controller.unqueue_restart()
                    case ["shutdown"]:
                        supervisor.stop_requested.set()
                    case [*_, _] if supervisor.processes and supervisor.processes[-1].exit is None:
                        status = {"exit 0": 0, "exit 3": 3, "kill": -9}[act]
                        desired = controller.desired
                        by_itself = desired.running and not desired.restart and not desired.restart_queued
                        # A stop that was followed by a start may be under way.
                        by_itself &= controller.state.process_state is not ProcessState.STOPPING
                        expected += by_itself and (policy == "never" or (policy == "on-failure" and status == 0))
                        supervisor.processes[-1].die(status)
                await story.wait(seconds)
                assert len(supervisor.ends) == expected
                assert not supervisor.ends or supervisor.ends[-1][1].process_state is ProcessState.EXITED

    trio.run(run_story, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_only_the_last_of_several_failed_starts_is_an_end_for_good(autojump_clock: object) -> None:
    async with Story(replace(SPEC, restart=RestartSpec(limit=3))) as story:
        story.supervisor.lifetime = 0.2
        await story.wait(60)
        assert [state.reason for _, state in story.supervisor.ends] == ["exit 1: 3 failed starts in a row"]
        story.controller.start()
        await story.wait(60)
        assert len(story.supervisor.ends) == 2


@pytest.mark.parametrize(
    ("error", "ends"), [(StartError("command not found: x"), 1), (PortTaken("port 80 is taken by pid 9"), 0)]
)
async def test_a_start_that_can_never_succeed_is_an_end_at_once_and_one_that_may_is_none(
    autojump_clock: object, error: Exception, ends: int
) -> None:
    async with Story() as story:
        story.supervisor.start_error = error
        await story.wait(0.5)
        assert len(story.supervisor.ends) == ends


async def test_an_instance_that_is_ended_for_its_check_and_not_restarted_has_ended_with_a_failure(
    autojump_clock: object,
) -> None:
    health = HealthSpec("command", command=("check",), restart_after=2, interval=1.0, start_period=0.0)
    async with Story(replace(NEVER, health=health)) as story:
        story.supervisor.check_status = 1
        await story.wait(60)
        ((_, state),) = story.supervisor.ends
        assert (state.process_state, state.completed) == (ProcessState.EXITED, False)
