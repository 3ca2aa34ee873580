"""Each change of the registry's status becomes one event: its store away and back, a mass failure of checks."""

from typing import Any, cast

import trio
import trio.testing

from minikube.errors import Unavailable
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.registry_sync import STATUS_INTERVAL_S, RegistrySync


class FakeRegistry:
    """A registry whose status the test sets; None: it does not answer."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = self.healthy()

    @staticmethod
    def healthy(state: str = "ok", detail: str = "", since: float = 0.0, failure: str = "") -> dict[str, Any]:
        return {
            "Store": {"State": state, "Detail": detail, "Since": 1.0},
            "LastDoubt": {"Since": since, "Detail": failure},
        }

    async def call(self, method: str, params: tuple[Any, ...], timeout: float) -> Any:
        assert method == "Discovery.Status"
        await trio.sleep(0.01)
        if self.status is None:
            raise Unavailable("not there")
        return self.status


async def test_each_change_is_one_event(autojump_clock: trio.testing.MockClock) -> None:
    registry, events = FakeRegistry(), list[tuple[str, str, str]]()
    async with trio.open_nursery() as nursery:
        registry_sync = RegistrySync(cast(Registry, registry), nursery, lambda id, entry: None, lambda text: None)
        nursery.start_soon(registry_sync.watch_registry, lambda *event: events.append(event))
        for status in (
            registry.healthy(),
            registry.healthy("down", "no disk"),
            None,
            registry.healthy("down", "no disk"),
            {"Version": "another"},
            registry.healthy(),
            registry.healthy(since=7.0, failure="3 of 4 fell silent"),
            registry.healthy(since=7.0, failure="3 of 4 fell silent"),
            registry.healthy(since=9.0, failure="4 of 4 fell silent"),
        ):
            registry.status = status
            await trio.sleep(3 * STATUS_INTERVAL_S)
        nursery.cancel_scope.cancel()
    assert events == [
        ("registry.store_changed", "the registry's store is away: no disk — lookups go on from memory", "error"),
        ("registry.store_changed", "the registry's store is back", "info"),
        ("registry.mass_failure", "registry: 3 of 4 fell silent", "warning"),
        ("registry.mass_failure", "registry: 4 of 4 fell silent", "warning"),
    ]
