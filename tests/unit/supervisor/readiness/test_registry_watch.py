"""What the registry says of itself becomes an event, once: its store away and back, its doubt in itself."""

from typing import Any, cast

import trio
import trio.testing

from minikube.errors import Unavailable
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.registry_sync import OVERSEE_S, RegistrySync


class Told:
    """A registry whose Status the test sets; None: it is not there."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = self.well()

    @staticmethod
    def well(state: str = "ok", detail: str = "", since: float = 0.0, doubt: str = "") -> dict[str, Any]:
        return {
            "Store": {"State": state, "Detail": detail, "Since": 1.0},
            "LastDoubt": {"Since": since, "Detail": doubt},
        }

    async def call(self, method: str, params: tuple[Any, ...], timeout: float) -> Any:
        assert method == "Discovery.Status"
        await trio.sleep(0.01)
        if self.status is None:
            raise Unavailable("not there")
        return self.status


async def test_each_change_is_one_event(autojump_clock: trio.testing.MockClock) -> None:
    told, events = Told(), list[tuple[str, str, str]]()
    async with trio.open_nursery() as nursery:
        link = RegistrySync(cast(Registry, told), nursery, lambda id, one: None, lambda text: None)
        nursery.start_soon(link.oversee, lambda *event: events.append(event))
        for status in (
            told.well(),
            told.well("down", "no disk"),
            None,
            told.well("down", "no disk"),
            {"Version": "another"},
            told.well(),
            told.well(since=7.0, doubt="3 of 4 fell silent"),
            told.well(since=7.0, doubt="3 of 4 fell silent"),
            told.well(since=9.0, doubt="4 of 4 fell silent"),
        ):
            told.status = status
            await trio.sleep(3 * OVERSEE_S)
        nursery.cancel_scope.cancel()
    assert events == [
        ("registry.store", "the registry's store is away: no disk — lookups go on from memory", "error"),
        ("registry.store", "the registry's store is back", "info"),
        ("registry.doubt", "registry: 3 of 4 fell silent", "warning"),
        ("registry.doubt", "registry: 4 of 4 fell silent", "warning"),
    ]
