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
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT
from tests.unit.logs.log_of import capture_in

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
    autojump_clock: trio.testing.MockClock, tmp_path: Path, error: MinikubeError, states: set[CheckState]
) -> None:
    found: list[CheckState] = []

    def on_probe(status: ProbeStatus, result: ProbeResult) -> None:
        found.append(status.state)

    instance = InstanceDescription("a", "web", SPEC, "127.0.0.1")
    checks = InstanceChecks(instance, cast(Any, Running(error)), capture_in(tmp_path), Prober(), on_probe, list)
    with trio.move_on_after(70):
        await checks.run()
    assert set(found) == states
    assert found[-1] is CheckState.PASSING
    assert len(found) > 30


@pytest.mark.parametrize("code", [0, 1, None], ids=["passes", "fails", "times out"])
async def test_secrets_in_the_output_of_a_check_are_masked_also_where_it_is_cut(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, code: int | None
) -> None:
    """Of a long output the end is kept, which may begin inside a secret."""
    outputs = ["is hunter22", ("er22 " + "x" * OUTPUT_LIMIT + "hunter22")[: OUTPUT_LIMIT - 8] + "hunter22"]
    found: list[str] = []

    class Printing:
        async def run(self, command: tuple[str, ...], timeout: float) -> Any:
            await trio.lowlevel.checkpoint()
            end = None if code is None else SimpleNamespace(clean=not code)
            return SimpleNamespace(output=outputs[len(found)], exit=end)

    instance = InstanceDescription("a", "web", SPEC, "127.0.0.1")
    log = capture_in(tmp_path, secrets=["hunter22"])
    with trio.CancelScope() as scope:

        def on_probe(status: ProbeStatus, result: ProbeResult) -> None:
            found.append(result.output)
            if len(found) == 2:
                scope.cancel()

        await InstanceChecks(instance, cast(Any, Printing()), log, Prober(), on_probe, list).run()
    assert found[0].endswith("is ***")
    assert found[1].endswith("xxx***")
    assert "er22" not in found[1]
