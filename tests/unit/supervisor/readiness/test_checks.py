"""The supervisor's own probes of an instance, in virtual time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from minikube.errors import MinikubeError, ResourceExhausted, StartError
from minikube.health.prober import Prober
from minikube.health.state import ProbeResult
from minikube.manifest import HealthSpec
from minikube.manifest.spec import ServiceSpec
from minikube.model import CheckState
from minikube.supervisor.readiness.checks import InstanceChecks
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.readiness.thresholds import ProbeStatus

SPEC = ServiceSpec(name="web", cwd=Path("."), health=HealthSpec("command", command=("true",)), register="none")


class Running:
    """A process whose check command exits with 0 once, and cannot be started for a minute then."""

    def __init__(self, error: MinikubeError) -> None:
        self.error = error

    async def run(self, command: tuple[str, ...], timeout: float) -> Any:
        if 1 < trio.current_time() < 60:
            raise self.error
        return SimpleNamespace(output="", exit=SimpleNamespace(clean=True))


@pytest.mark.parametrize(
    ("error", "states"),
    [
        (ResourceExhausted("no descriptor left"), {CheckState.PASSING}),
        (StartError("there is no such program"), {CheckState.PASSING, CheckState.CRITICAL}),
    ],
)
async def test_a_check_for_which_this_machine_has_nothing_left_is_no_failure(
    autojump_clock: trio.testing.MockClock, error: MinikubeError, states: set[CheckState]
) -> None:
    found: list[CheckState] = []

    def on_probe(status: ProbeStatus, result: ProbeResult) -> None:
        found.append(status.state)

    instance = InstanceDescription("a", "web", SPEC, "127.0.0.1", 0)
    checks = InstanceChecks(instance, cast(Any, Running(error)), cast(Any, None), Prober(), on_probe, list)
    with trio.move_on_after(70):
        await checks.run()
    assert set(found) == states
    assert found[-1] is CheckState.PASSING
    assert len(found) > 30
