"""When scheduled services are started, in virtual time."""

from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
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

    def adopt(self, **fields: Any) -> None:
        self.specs = {"x": replace(SPEC, **fields)}
        adopted, self.manifest_adopted = self.manifest_adopted, CancelEvent()
        adopted.set()

    def set_next_run(self, name: str, at: float) -> None: ...

    def of(self, name: str) -> list[FakeController]:
        return [self.controller]


@pytest.fixture
def reconciler(monkeypatch: pytest.MonkeyPatch) -> FakeReconciler:
    clock = SimpleNamespace(time=lambda: 1_795_500_000.0 + trio.current_time())
    monkeypatch.setattr(scheduler, "time", clock)
    return FakeReconciler()


async def test_applying_a_manifest_does_not_begin_a_period_anew(
    autojump_clock: object, reconciler: FakeReconciler
) -> None:
    began = trio.current_time()
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
