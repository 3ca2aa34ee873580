"""A change of the registry's check becomes an event only where the entry is the running process'."""

import time

import pytest
from msgspec.structs import replace

from minikube.control.state_store import StateStore
from minikube.model import Address, CheckState, Instance
from minikube.supervisor.reconcile.registry_events import EXTERNAL_SHOWN, RegistryEvents
from tests.unit.supervisor.instance.fakes import Story


async def test_an_entry_of_an_earlier_process_makes_no_event(autojump_clock: object) -> None:
    async with Story() as story:
        store, controller = story.supervisor.store, story.controller
        registry_events = RegistryEvents(store, {controller.id: controller})

        def events() -> list[str]:
            return [event.message for event in store.events_since(0) if event.kind.startswith("check.")]

        def update(registered: float, incarnation: int) -> None:
            entry = Instance(
                controller.id,
                "x",
                Address("127.0.0.1", 80),
                "",
                CheckState.PASSING,
                registered=registered,
                incarnation=incarnation,
            )
            registry_events.on_entry(controller.id, entry)

        began = time.time()
        update(began - 60, 1)
        await story.wait(2)
        update(began - 60, 1)
        assert events() == []
        update(time.time() + 1, 2)
        update(time.time() + 1, 2)
        assert events() == ["x is passing"]


async def test_an_instance_registered_after_the_clock_was_set_back_is_seen(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Story() as story:
        await story.wait(2)
        earlier = time.time() - 3600
        monkeypatch.setattr(time, "time", lambda: earlier)
        entry = Instance(
            story.controller.id,
            "x",
            Address("127.0.0.1", 80),
            "",
            CheckState.PASSING,
            registered=earlier,
            incarnation=2,
        )
        story.controller.on_registry_update(entry)
        assert story.controller.registry_entry is entry


async def test_an_external_instance_passes_only_while_lookups_find_it(autojump_clock: object) -> None:
    store = StateStore("test")
    registry_events = RegistryEvents(store, {})
    entry = Instance("1", "db", Address("127.0.0.1", 80), "tcp:", CheckState.PASSING, output="connected")

    def shown() -> tuple[CheckState | None, str]:
        registry_events.on_entry("1", entry)
        view = store.snapshot.instances[0]
        return view.check, view.output

    assert shown() == (CheckState.PASSING, "connected")
    registry_events.lookup_problem = "the registry does not answer"
    assert shown() == (CheckState.CRITICAL, "the registry does not answer")
    entry = replace(entry, state=CheckState.MAINTENANCE)
    assert shown() == (CheckState.MAINTENANCE, "connected")


def _external(number: int, names: int = 50) -> Instance:
    return Instance(
        f"{number:08x}", f"flood-{number % names}", Address("127.0.0.1", 1 + number), "ttl:", CheckState.STARTING
    )


async def test_a_flood_of_entries_of_one_client_costs_a_bounded_number_of_revisions_and_rows(
    autojump_clock: object,
) -> None:
    store = StateStore("test")
    registry_events = RegistryEvents(store, {})
    for state in (CheckState.STARTING, CheckState.CRITICAL):
        for number in range(10_000):
            entry = replace(_external(number), state=state)
            registry_events.on_entry(entry.uuid, entry)
    assert len(store.snapshot.instances) == EXTERNAL_SHOWN
    assert store.revision < 3 * EXTERNAL_SHOWN
    assert [event.kind for event in store.snapshot.events] == ["registry.rows_limited"]


async def test_an_instance_that_was_not_shown_takes_the_place_of_one_that_left(autojump_clock: object) -> None:
    store = StateStore("test")
    registry_events = RegistryEvents(store, {})
    for number in range(EXTERNAL_SHOWN + 2):
        registry_events.on_entry(_external(number).uuid, _external(number))
    for number in range(EXTERNAL_SHOWN):
        registry_events.on_entry(_external(number).uuid, None)
    shown = {row.id for row in store.snapshot.instances}
    assert shown == {_external(EXTERNAL_SHOWN).uuid, _external(EXTERNAL_SHOWN + 1).uuid}
    assert {service.name for service in store.snapshot.services} == {row.service for row in store.snapshot.instances}
    for id in shown:
        registry_events.on_entry(id, None)
    assert store.snapshot.services == ()


async def test_no_snapshot_is_made_for_entries_that_go(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore("test")
    registry_events = RegistryEvents(store, {})
    for number in range(100):
        registry_events.on_entry(_external(number).uuid, _external(number))
    monkeypatch.setattr(StateStore, "snapshot", property(lambda _: pytest.fail("a snapshot is work for each row")))
    for number in range(100):
        registry_events.on_entry(_external(number).uuid, None)


async def test_an_instance_that_changes_its_name_leaves_no_row_of_the_former_service(autojump_clock: object) -> None:
    store = StateStore("test")
    registry_events = RegistryEvents(store, {})
    for name in ("a", "b"):
        registry_events.on_entry("1", Instance("1", name, Address("127.0.0.1", 80), "ttl:", CheckState.STARTING))
    assert [service.name for service in store.snapshot.services] == ["b"]
