"""The state store: one snapshot, and subscribers that end up with it at any speed."""

from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from minikube.control import state_store
from minikube.control.client.snapshot import EVENTS_SHOWN, apply_delta, apply_update, decode_update
from minikube.control.encoding import encode
from minikube.control.rows import table
from minikube.control.rows.table import REMOVALS_KEPT
from minikube.control.state_store import (
    EVENTS_KEPT,
    MINOR_UPDATE_INTERVAL_S,
    UPDATE_INTERVAL_S,
    StateStore,
)
from minikube.model import CheckState, Delta, Event, InstanceView, PartView, ProcessState, ServiceView, Snapshot, Usage

IDS = st.sampled_from("abcdef")
STATES = st.sampled_from(list(ProcessState))


def view(id: str, state: ProcessState = ProcessState.RUNNING, restarts: int = 0) -> InstanceView:
    pid = 7 if state is ProcessState.RUNNING else 0
    return InstanceView(id, "x", f"x-{id}", state, pid=pid, restarts=restarts)


MUTATIONS = st.one_of(
    st.tuples(st.just("put"), st.lists(st.tuples(IDS, STATES), max_size=4)),
    st.tuples(st.just("drop"), st.lists(IDS, max_size=3)),
    st.tuples(st.just("service"), IDS),
    st.tuples(st.just("drop service"), IDS),
    st.tuples(st.just("usage"), st.lists(st.tuples(IDS, st.integers(0, 3)), max_size=4)),
    st.tuples(st.just("part"), STATES),
    st.tuples(st.just("phase"), st.sampled_from(["starting", "running", "stopping"])),
    st.tuples(st.just("event"), st.integers(1, 4)),
    st.tuples(st.just("read"), st.integers(0, 2)),
)


def mutate(store: StateStore, kind: str, value: Any) -> None:
    match kind:
        case "put":
            store.put_instances(*(view(id, state) for id, state in value))
        case "drop":
            store.drop_instances(*value)
        case "service":
            store.put_services(ServiceView(value, replicas=store.revision + 1))
        case "drop service":
            store.drop_services(value)
        case "usage":
            store.put_usage(Usage(id, float(cpu), cpu) for id, cpu in value)
        case "part":
            store.put_parts(PartView("redis", value))
        case "phase":
            store.set_phase(value)
        case "event":
            for _ in range(value):
                store.event("x.y", "something")


@settings(max_examples=150, deadline=None)
@given(st.lists(MUTATIONS, max_size=60), st.integers(1, 5), st.integers(0, 4))
def test_every_subscriber_ends_up_with_the_stores_snapshot_at_any_speed(
    steps: list[tuple[str, Any]], shown: int, tombstones: int
) -> None:
    """Small limits make the cases of slow subscribers (missed events, forgotten removals) common."""
    patch = pytest.MonkeyPatch()
    patch.setattr(state_store, "EVENTS_SHOWN", shown)
    patch.setattr("minikube.control.client.snapshot.EVENTS_SHOWN", shown)
    patch.setattr(table, "REMOVALS_KEPT", tombstones)
    try:
        store = StateStore("shop")
        readers: list[Snapshot] = [store.snapshot] * 3

        def read(number: int) -> None:
            update = store.update_since(readers[number].revision)
            if update is not None:
                readers[number] = apply_update(readers[number], decode_update(encode(update)))
            assert readers[number] == store.snapshot

        for kind, value in steps:
            if kind == "read":
                read(value)
            else:
                mutate(store, kind, value)
        for number in range(3):
            read(number)
    finally:
        patch.undo()


def test_putting_an_equal_row_makes_no_revision() -> None:
    store = StateStore("shop")
    store.put_instances(view("a"))
    revision, snapshot = store.revision, store.snapshot
    store.put_instances(view("a"))
    store.put_usage([Usage("nobody", 1.0, 1)])
    store.drop_instances("nobody")
    store.drop_services("nobody")
    store.set_phase(snapshot.phase)
    assert store.revision == revision
    assert store.snapshot is snapshot


def test_changed_rows_keep_their_position_and_rows_added_again_come_last() -> None:
    store = StateStore("shop")
    store.put_instances(view("a"), view("b"), view("c"))
    before = store.snapshot
    store.put_instances(view("b", ProcessState.EXITED))
    store.drop_instances("a")
    store.put_instances(view("a"))
    delta = store.update_since(before.revision)
    assert isinstance(delta, Delta)
    assert [row.id for row in store.snapshot.instances] == ["b", "c", "a"]
    assert apply_delta(before, delta) == store.snapshot


def test_usage_is_dropped_with_its_instance() -> None:
    store = StateStore("shop")
    store.put_instances(view("a"))
    store.put_usage([Usage("a", 1.0, 1)])
    store.drop_instances("a")
    assert store.snapshot.usage == ()
    assert store.instance("a") is None


def test_usage_that_was_measured_before_an_exit_is_ignored() -> None:
    store = StateStore("shop")
    store.put_instances(view("a"))
    store.put_usage([Usage("a", 3.0, 1000)])
    store.put_instances(view("a", ProcessState.EXITED))
    store.put_usage([Usage("a", 3.0, 1000)])
    assert store.snapshot.usage == (Usage("a", 0.0, 0),)


def test_subscribers_at_the_same_revision_share_one_delta() -> None:
    store = StateStore("shop")
    store.put_instances(view("a"))
    assert store.update_since(0) is store.update_since(0)


def test_a_subscriber_that_missed_more_events_than_are_shown_gets_a_snapshot() -> None:
    store = StateStore("shop")
    for _ in range(EVENTS_SHOWN + 1):
        store.event("x.y", "z")
    assert isinstance(store.update_since(1), Delta)
    assert store.update_since(0) is store.snapshot
    assert len(store.snapshot.events) == EVENTS_SHOWN
    assert [event.number for event in store.snapshot.events][:2] == [2, 3]


def test_a_subscriber_that_missed_a_forgotten_removal_gets_a_snapshot() -> None:
    """Services, because a delta with this many removed instances is replaced by a snapshot for its length alone."""
    store = StateStore("shop")
    store.put_services(ServiceView("first"))
    before = store.revision
    store.drop_services("first")
    after = store.revision
    for number in range(REMOVALS_KEPT):
        store.put_services(ServiceView(str(number)))
        store.drop_services(str(number))
    assert store.update_since(before) is store.snapshot
    delta = store.update_since(after)
    assert isinstance(delta, Delta)
    assert len(delta.gone_services) == REMOVALS_KEPT
    assert store.update_since(store.revision) is None


def test_a_subscriber_that_missed_very_many_removed_instances_gets_a_snapshot() -> None:
    store = StateStore("shop")
    store.put_instances(*(view(str(number)) for number in range(EVENTS_SHOWN + 1)))
    before = store.revision
    store.drop_instances("0")
    after = store.revision
    store.drop_instances(*(str(number) for number in range(1, EVENTS_SHOWN + 1)))
    assert store.update_since(before) is store.snapshot
    assert isinstance(store.update_since(after), Delta)


def test_a_revision_from_the_future_gets_a_snapshot() -> None:
    """A dashboard that reconnects to a new supervisor never applies its deltas to an old snapshot."""
    store = StateStore("shop")
    assert store.update_since(99) is store.snapshot


def test_the_latest_ten_thousand_events_are_kept_by_number() -> None:
    store = StateStore("shop")
    assert store.events_since(0) == []
    for _ in range(EVENTS_KEPT + 5):
        store.event("x.y", "z")
    kept = store.events_since(0)
    assert (len(kept), kept[0].number, kept[-1].number) == (EVENTS_KEPT, 6, EVENTS_KEPT + 5)
    assert [event.number for event in store.events_since(EVENTS_KEPT + 3)] == [EVENTS_KEPT + 4, EVENTS_KEPT + 5]
    assert [event.number for event in store.events_since(10, limit=2)] == [11, 12]


def test_an_event_has_the_time_and_a_message_of_limited_length() -> None:
    store = StateStore("shop", clock=lambda: 7.0)
    event = store.event("instance.exited", "x" * 5_000, "error", service="product", instance="product-2")
    assert event == Event(1, 7.0, "instance.exited", "x" * 2_000, "error", "product", "product-2")


def test_a_delta_that_does_not_continue_the_snapshot_raises() -> None:
    store = StateStore("shop")
    snapshot = store.snapshot
    store.put_instances(view("a"))
    store.put_instances(view("b"))
    delta = store.update_since(1)
    assert isinstance(delta, Delta)
    with pytest.raises(ValueError, match="continues revision 1"):
        apply_delta(snapshot, delta)
    with pytest.raises(ValueError, match="before the first snapshot"):
        apply_update(None, delta)


def test_text_that_utf8_cannot_encode_does_not_stop_the_snapshot_from_being_sent() -> None:
    store = StateStore("shop")
    store.event("x.y", "half a character: \udc80, an override: \u202e, a C1: \x9b, DEL: \x7f")
    data = encode(store.snapshot)
    assert b"\\u202e" in data
    assert b"\\u009b" in data
    assert b"\\u007f" in data
    assert b"\x7f" not in data
    message = msgspec.json.decode(data)["events"][0]["message"]
    assert message == "half a character: ?, an override: \u202e, a C1: \x9b, DEL: \x7f"


async def test_the_first_change_after_a_pause_is_sent_at_once_and_further_ones_are_gathered(
    autojump_clock: MockClock,
) -> None:
    store = StateStore("shop")
    updates = store.subscribe()
    assert await anext(updates) is store.snapshot
    await trio.sleep(1)
    start = trio.current_time()
    store.put_instances(view("a"))
    await anext(updates)
    assert trio.current_time() == start
    count = 0
    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storm, store)
            async for _ in updates:
                count += 1
    assert count <= 1 / UPDATE_INTERVAL_S + 1


async def test_minor_changes_wait_longer_but_are_sent_with_any_other_change(autojump_clock: MockClock) -> None:
    store = StateStore("shop")
    updates = store.subscribe()
    await anext(updates)
    await trio.sleep(1)
    store.put_instances(view("a"))
    await anext(updates)
    await trio.sleep(MINOR_UPDATE_INTERVAL_S / 2)
    start = trio.current_time()
    store.put_usage([Usage("a", 1.0, 1)])
    store.put_instances(msgspec.structs.replace(view("a"), checked=5.0, output="200 OK"))
    await anext(updates)
    assert trio.current_time() - start == pytest.approx(MINOR_UPDATE_INTERVAL_S / 2)

    start = trio.current_time()

    async def end_it() -> None:
        await trio.sleep(0.01)
        store.put_instances(msgspec.structs.replace(view("a"), state=ProcessState.STOPPING))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_it)
        store.put_usage([Usage("a", 2.0, 1)])
        update = await anext(updates)
    assert trio.current_time() - start == pytest.approx(0.01)
    assert isinstance(update, Delta)
    assert update.usage[0].cpu == 2.0
    assert update.instances[0].state is ProcessState.STOPPING


async def storm(store: StateStore) -> None:
    for number in range(1_000):
        store.put_instances(view("a", restarts=number))
        await trio.sleep(0.001)


async def test_subscribers_that_keep_up_get_the_same_objects(autojump_clock: MockClock) -> None:
    store = StateStore("shop")
    seen: list[list[Any]] = [[], [], []]

    async def follow(into: list[Any]) -> None:
        async for update in store.subscribe():
            into.append(update)

    with trio.move_on_after(2):
        async with trio.open_nursery() as nursery:
            for into in seen:
                nursery.start_soon(follow, into)
            nursery.start_soon(storm, store)
    assert len(seen[0]) > 10
    assert [id(update) for update in seen[0]] == [id(update) for update in seen[1]] == [id(u) for u in seen[2]]


async def test_wait_for_returns_the_first_snapshot_that_satisfies_the_condition(autojump_clock: MockClock) -> None:
    store = StateStore("shop")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storm, store)
        snapshot = await store.wait_for(lambda s: any(row.restarts >= 500 for row in s.instances))
        assert snapshot.instances[0].restarts == 500
        nursery.cancel_scope.cancel()


async def test_the_usage_of_an_instance_that_exited_is_zero() -> None:
    store = StateStore("shop")
    store.put_instances(InstanceView("a1", "a", "a", ProcessState.RUNNING, pid=7))
    store.put_usage([Usage("a1", 3.0, 1000)])
    store.put_instances(InstanceView("a1", "a", "a", ProcessState.EXITED))
    assert store.snapshot.usage == (Usage("a1", 0.0, 0),)


async def test_ages_stay_right_when_the_clock_is_set_and_no_start_is_counted() -> None:
    """Rows that are put later have points in time of the same steady clock; a schedule's next run is by the wall clock."""
    store = StateStore("shop")
    row = InstanceView(
        "1",
        "web",
        "web",
        ProcessState.RUNNING,
        CheckState.PASSING,
        pid=5,
        started=1000.0,
        since=1000.0,
        next_run=5000.0,
    )
    store.put_services(ServiceView("web"), ServiceView("db", kind="external"))
    store.put_parts(PartView("redis", ProcessState.RUNNING, since=900.0))
    store.put_instances(row, InstanceView("2", "db", "db-2", ProcessState.RUNNING, started=950.0))
    started = store.snapshot.started
    assert not store.set_clock_shift(0.5), "the clock is only disciplined"
    assert store.set_clock_shift(-3600.0)
    store.put_instances(replace(row, restarts=1, check_since=1100.0))
    snapshot = store.snapshot
    assert [(view.started, view.check_since, view.next_run) for view in snapshot.instances] == [
        (-2600.0, -2500.0, 5000.0),
        (950.0, 0.0, 0.0),
    ]
    assert snapshot.parts[0].since == -2700.0
    assert snapshot.started == started - 3600.0
    assert sum(store.counters.view.starts["web"].counts) == 1
    assert store.set_clock_shift(0.0)
    assert store.snapshot.instances[0].started == 1000.0


async def test_wait_until_makes_no_snapshot(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore("test")
    monkeypatch.setattr(StateStore, "snapshot", property(lambda _: pytest.fail("a snapshot is work for each row")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_until, lambda: store.revision >= 5)
        for number in range(10):
            store.event("test", str(number))
            await trio.lowlevel.checkpoint()
