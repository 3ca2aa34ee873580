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
from minikube.supervisor.reconcile import scheduler as timetable
from minikube.supervisor.reconcile.scheduler import TaskScheduler

SPEC = ServiceSpec("x", Path("/"), ("run",), schedule="every 10m")


class Runner:
    """Implements what a timetable needs of one."""

    wish = DesiredState()
    process = None

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.life = self
        self.state = ProcessState.EXITED

    def start(self) -> None:
        self.starts.append(trio.current_time())


class Core:
    """Implements what a timetable needs of the supervisor."""

    def __init__(self) -> None:
        self.specs = {"x": SPEC}
        self.adopted = CancelEvent()
        self.roster = self
        self.asked_to_stop = trio.Event()
        self.runner = Runner()

    def adopt(self, **fields: Any) -> None:
        self.specs = {"x": replace(SPEC, **fields)}
        adopted, self.adopted = self.adopted, CancelEvent()
        adopted.set()

    def expect(self, name: str, at: float) -> None: ...

    def of(self, name: str) -> list[Runner]:
        return [self.runner]


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    clock = SimpleNamespace(time=lambda: 1_795_500_000.0 + trio.current_time())
    monkeypatch.setattr(timetable, "time", clock)
    return Core()


async def test_a_period_goes_on_however_often_a_manifest_is_applied(autojump_clock: object, core: Core) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TaskScheduler(core, UTC).run)  # type: ignore[arg-type]
        for _ in range(9):
            await trio.sleep(150)
            core.adopt(env={"SAVED": "again"})
        assert [round(start - began) for start in core.runner.starts] == [600, 1200]
        core.adopt(schedule="every 1m")
        await trio.sleep(61)
        assert round(core.runner.starts[-1] - began) == 1410, "another schedule begins at once"
        nursery.cancel_scope.cancel()
