"""When scheduled services are started, in virtual time."""

from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from minikube.manifest import ServiceSpec
from minikube.model import ProcessState
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.reconcile.schedule import scheduler
from minikube.supervisor.reconcile.schedule.scheduler import TaskScheduler

NOON = 1_795_521_600.0
"""2026-11-24T12:00:00Z"""

SPEC = ServiceSpec("x", Path("/"), ("run",), schedule="every 10m")


class FakeController:
    """Implements what a scheduler needs of an instance's controller."""

    desired = DesiredState()
    process = None

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.state = InstanceState(ProcessState.EXITED)

    def start(self) -> None:
        self.starts.append(trio.current_time())


class FakeReconciler:
    """Implements what a scheduler needs of the reconciler."""

    def __init__(self) -> None:
        self.specs = {"x": SPEC}
        self.manifest_adopted = CancelEvent()
        self.replicas = self
        self.stop_requested = trio.Event()
        self.controller = FakeController()
        self.began = 0.0
        self.clock_set = 0.0
        """How far the wall clock was set forward."""
        self.next_run = 0.0

    def adopt(self, **fields: Any) -> None:
        self.specs = {"x": replace(SPEC, **fields)}
        adopted, self.manifest_adopted = self.manifest_adopted, CancelEvent()
        adopted.set()

    def set_next_run(self, name: str, at: float) -> None:
        self.next_run = at - NOON

    @property
    def starts(self) -> list[int]:
        """When the service was started, in seconds since the beginning."""
        return [round(start - self.began) for start in self.controller.starts]

    def of(self, name: str) -> list[FakeController]:
        return [self.controller]


@pytest.fixture
def reconciler(monkeypatch: pytest.MonkeyPatch) -> FakeReconciler:
    found = FakeReconciler()
    monkeypatch.setattr(scheduler, "steady_time", lambda: NOON + trio.current_time() - found.began)
    monkeypatch.setattr(scheduler, "wall_time", lambda: NOON + trio.current_time() - found.began + found.clock_set)
    monkeypatch.setattr(scheduler, "clock_shift", lambda: found.clock_set)
    return found


async def test_applying_a_manifest_does_not_begin_a_period_anew(
    autojump_clock: object, reconciler: FakeReconciler
) -> None:
    began = trio.current_time()
    reconciler.began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TaskScheduler(reconciler, UTC).run)  # type: ignore[arg-type]
        for _ in range(9):
            await trio.sleep(150)
            reconciler.adopt(env={"SAVED": "again"})
        assert [round(start - began) for start in reconciler.controller.starts] == [600, 1200]
        reconciler.adopt(schedule="every 1m")
        await trio.sleep(61)
        assert round(reconciler.controller.starts[-1] - began) == 1410, "another schedule begins at once"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("by", [-86_400.0, 86_400.0])
async def test_a_period_goes_on_when_the_clock_is_set(
    autojump_clock: object, reconciler: FakeReconciler, by: float
) -> None:
    """The next run is shown by the clock as it is."""
    reconciler.began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TaskScheduler(reconciler, UTC).run)  # type: ignore[arg-type]
        await trio.sleep(700)
        reconciler.clock_set = by
        await trio.sleep(600)
        assert reconciler.starts == [600, 1200]
        assert round(reconciler.next_run) == 1800 + by
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("by", "starts"),
    [
        (-7_200.0, [900, 1800, 2700]),  # set back two hours: every quarter of an hour all the same
        (-30.0, [900, 1830, 2730]),  # a correction: no run comes a second time
        (-7_130.0, [900, 1730, 2630]),
        (86_400.0, [900, 1105, 1800, 2700]),  # what was missed is made up for by one run, at the next look at the clock
    ],
)
async def test_cron_follows_the_wall_clock_when_it_is_set(
    autojump_clock: object, reconciler: FakeReconciler, by: float, starts: list[int]
) -> None:
    reconciler.specs = {"x": replace(SPEC, schedule="*/15 * * * *")}
    reconciler.began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TaskScheduler(reconciler, UTC).run)  # type: ignore[arg-type]
        await trio.sleep(1_101)
        reconciler.clock_set = by
        await trio.sleep(1_699)
        assert reconciler.starts == starts
        nursery.cancel_scope.cancel()


async def test_a_small_correction_just_after_a_run_does_not_repeat_it(
    autojump_clock: object, reconciler: FakeReconciler
) -> None:
    reconciler.specs = {"x": replace(SPEC, schedule="*/15 * * * *")}
    reconciler.began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TaskScheduler(reconciler, UTC).run)  # type: ignore[arg-type]
        await trio.sleep(901)
        reconciler.clock_set = -20.0
        await trio.sleep(1_000)
        assert reconciler.starts == [900, 1820]
        nursery.cancel_scope.cancel()
