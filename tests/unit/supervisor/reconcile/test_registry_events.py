"""What the registry says becomes an event only where it is of the life that runs."""

import time

import pytest

from minikube.model import Address, CheckState, Instance
from minikube.supervisor.reconcile.registry_events import RegistryEvents
from tests.unit.supervisor.instance.test_controller import Story


async def test_an_entry_of_an_earlier_life_is_not_told(autojump_clock: object) -> None:
    async with Story() as story:
        board, runner = story.home.board, story.runner
        hearsay = RegistryEvents(board, {runner.id: runner})

        def told() -> list[str]:
            return [event.message for event in board.events_since(0) if event.kind.startswith("check.")]

        def hear(registered: float, incarnation: int) -> None:
            found = Instance(
                runner.id,
                "x",
                Address("127.0.0.1", 80),
                "",
                CheckState.PASSING,
                registered=registered,
                incarnation=incarnation,
            )
            hearsay.heard(runner.id, found)

        began = time.time()
        hear(began - 60, 1)
        await story.wait(2)
        hear(began - 60, 1)
        assert told() == []
        hear(time.time() + 1, 2)
        hear(time.time() + 1, 2)
        assert told() == ["x is passing"]


async def test_a_clock_that_is_set_back_hides_nobody(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Story() as story:
        await story.wait(2)
        earlier = time.time() - 3600
        monkeypatch.setattr(time, "time", lambda: earlier)
        found = Instance(
            story.runner.id, "x", Address("127.0.0.1", 80), "", CheckState.PASSING, registered=earlier, incarnation=2
        )
        story.runner.heard(found)
        assert story.runner.wellbeing.registry is found
