"""The registry's status becomes events (its store away and back, a mass failure of checks), and what is shown of it."""

from typing import Any, cast

import trio
import trio.testing

from minikube.errors import Unavailable
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.registry_monitor import STATUS_INTERVAL_S, RegistryHealth, RegistryMonitor


class FakeRegistry:
    """A registry whose status the test sets; None: it does not answer."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = self.healthy()

    @staticmethod
    def healthy(
        state: str = "ok", detail: str = "", since: float = 0.0, failure: str = "", *, loaded: bool = True
    ) -> dict[str, Any]:
        return {
            "Store": {"State": state, "Detail": detail, "Since": 1.0, "Loaded": loaded},
            "LastDoubt": {"Since": since, "Detail": failure},
        }

    async def call(self, method: str, params: tuple[Any, ...], timeout: float) -> Any:
        assert method == "Discovery.Status"
        await trio.sleep(0.01)
        if self.status is None:
            raise Unavailable("not there")
        return self.status


def monitor(
    registry: FakeRegistry, events: list[tuple[str, str, str]], found: list[RegistryHealth] | None = None
) -> RegistryMonitor:
    found = [] if found is None else found
    return RegistryMonitor(cast(Registry, registry), lambda *event: events.append(event), found.append)


async def test_each_change_is_one_event(autojump_clock: trio.testing.MockClock) -> None:
    registry, events = FakeRegistry(), list[tuple[str, str, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor(registry, events).run)
        for status in (
            registry.healthy(),
            registry.healthy("down", "no disk"),
            None,
            registry.healthy("down", "no disk"),
            {"Version": "another"},
            registry.healthy() | {"Refused": "many"},
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


async def test_a_restart_while_the_store_is_away_makes_an_event(autojump_clock: trio.testing.MockClock) -> None:
    """The registry that was restarted answers, but has read nothing: lookups fail, which they did not before."""
    registry, events = FakeRegistry(), list[tuple[str, str, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor(registry, events).run)
        for loaded in (True, False, False):
            registry.status = registry.healthy("down", "it hangs", loaded=loaded)
            await trio.sleep(3 * STATUS_INTERVAL_S)
        nursery.cancel_scope.cancel()
    assert [text for _, text, _ in events] == [
        "the registry's store is away: it hangs — lookups go on from memory",
        "the registry's store is still away: it hangs — lookups fail until it was read",
    ]


async def test_a_registry_that_does_not_answer_is_one_event(autojump_clock: trio.testing.MockClock) -> None:
    registry, events = FakeRegistry(), list[tuple[str, str, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor(registry, events).run)
        for status, seconds in ((registry.healthy(), 10.0), (None, 60.0), (registry.healthy(), 10.0), (None, 2.0)):
            registry.status = status
            await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    assert events == [
        ("registry.unresponsive", "the registry does not answer: not there", "error"),
        ("registry.responsive", "the registry answers again", "info"),
    ]


async def test_health_says_whether_the_registry_its_store_and_its_lookups_work(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """From memory lookups go on; a registry that is hung, or has not read its store, finds nothing."""
    registry, found = FakeRegistry(), list[RegistryHealth]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor(registry, [], found).run)
        for status, seconds in (
            (registry.healthy("down", "connecting", loaded=False), 2.0),
            (registry.healthy("down", "no disk"), 2.0),
            (None, 2.0),  # it is started again
            (registry.healthy("down", "connecting", loaded=False), 2.0),
            (registry.healthy("down", "no socket", loaded=False), 2.0),
            (None, 10.0),
            (registry.healthy(), 2.0),
        ):
            registry.status = status
            await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    assert found == [
        RegistryHealth("its store is away: no disk — lookups go on from memory", "no disk", ""),
        RegistryHealth(
            "its store is away: no socket — lookups fail until it was read",
            "no socket",
            "the registry has not read its store: no socket",
        ),
        RegistryHealth("does not answer: not there", "no socket", "the registry does not answer"),
        RegistryHealth(),
    ]


async def test_a_registry_that_hangs_is_handed_over_for_a_restart_again_and_again_and_one_that_answers_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registry, hung = FakeRegistry(), list[float]()
    watched = RegistryMonitor(
        cast(Registry, registry), lambda *event: None, lambda _: None, lambda _: hung.append(trio.current_time())
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await trio.sleep(60)
        assert hung == []
        began, registry.status = trio.current_time(), None
        await trio.sleep(12)
        assert hung == [], "a pause of that length is waited for"
        await trio.sleep(14)
        assert [round(at - began) for at in hung] == [14, 24]
        registry.status = registry.healthy()
        await trio.sleep(60)
        assert len(hung) == 2
        nursery.cancel_scope.cancel()
