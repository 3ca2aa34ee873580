"""Promises of the status board: one snapshot, and readers that end up with it whatever their speed."""

from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from minikube.control import state_store
from minikube.control.client.snapshot import EVENTS_SHOWN, apply_delta, apply_update, decode_update
from minikube.control.encoding import encode
from minikube.control.state_store import (
    EVENTS_KEPT,
    MINOR_UPDATE_INTERVAL_S,
    REMOVALS_KEPT,
    UPDATE_INTERVAL_S,
    StateStore,
)
from minikube.model import Delta, Event, InstanceView, PartView, ProcessState, ServiceView, Snapshot, Usage

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


def mutate(board: StateStore, kind: str, value: Any) -> None:
    match kind:
        case "put":
            board.put_instances(*(view(id, state) for id, state in value))
        case "drop":
            board.drop_instances(*value)
        case "service":
            board.put_services(ServiceView(value, replicas=board.revision + 1))
        case "drop service":
            board.drop_services(value)
        case "usage":
            board.put_usage(Usage(id, float(cpu), cpu) for id, cpu in value)
        case "part":
            board.put_parts(PartView("redis", value))
        case "phase":
            board.set_phase(value)
        case "event":
            for _ in range(value):
                board.event("x.y", "something")


@settings(max_examples=150, deadline=None)
@given(st.lists(MUTATIONS, max_size=60), st.integers(1, 5), st.integers(0, 4))
def test_every_reader_ends_up_with_the_boards_snapshot_whatever_its_speed(
    steps: list[tuple[str, Any]], shown: int, tombstones: int
) -> None:
    """Small bounds make the paths of the slow reader (missed events, forgotten removals) common."""
    patch = pytest.MonkeyPatch()
    patch.setattr(state_store, "EVENTS_SHOWN", shown)
    patch.setattr("minikube.control.client.snapshot.EVENTS_SHOWN", shown)
    patch.setattr(state_store, "REMOVALS_KEPT", tombstones)
    try:
        board = StateStore("shop")
        readers: list[Snapshot] = [board.snapshot] * 3

        def read(number: int) -> None:
            update = board.update_since(readers[number].revision)
            if update is not None:
                readers[number] = apply_update(readers[number], decode_update(encode(update)))
            assert readers[number] == board.snapshot

        for kind, value in steps:
            if kind == "read":
                read(value)
            else:
                mutate(board, kind, value)
        for number in range(3):
            read(number)
    finally:
        patch.undo()


def test_a_row_equal_to_what_is_there_makes_no_revision() -> None:
    board = StateStore("shop")
    board.put_instances(view("a"))
    revision, snapshot = board.revision, board.snapshot
    board.put_instances(view("a"))
    board.put_usage([Usage("nobody", 1.0, 1)])
    board.drop_instances("nobody")
    board.drop_services("nobody")
    board.set_phase(snapshot.phase)
    assert board.revision == revision
    assert board.snapshot is snapshot


def test_rows_keep_their_place_when_they_change_and_one_that_came_back_goes_last() -> None:
    board = StateStore("shop")
    board.put_instances(view("a"), view("b"), view("c"))
    before = board.snapshot
    board.put_instances(view("b", ProcessState.EXITED))
    board.drop_instances("a")
    board.put_instances(view("a"))
    delta = board.update_since(before.revision)
    assert isinstance(delta, Delta)
    assert [row.id for row in board.snapshot.instances] == ["b", "c", "a"]
    assert apply_delta(before, delta) == board.snapshot


def test_usage_goes_with_its_instance() -> None:
    board = StateStore("shop")
    board.put_instances(view("a"))
    board.put_usage([Usage("a", 1.0, 1)])
    board.drop_instances("a")
    assert board.snapshot.usage == ()
    assert board.instance("a") is None


def test_a_walk_that_began_before_an_end_says_nothing_of_who_has_ended() -> None:
    board = StateStore("shop")
    board.put_instances(view("a"))
    board.put_usage([Usage("a", 3.0, 1000)])
    board.put_instances(view("a", ProcessState.EXITED))
    board.put_usage([Usage("a", 3.0, 1000)])
    assert board.snapshot.usage == (Usage("a", 0.0, 0),)


def test_readers_of_one_revision_share_one_delta() -> None:
    board = StateStore("shop")
    board.put_instances(view("a"))
    assert board.update_since(0) is board.update_since(0)


def test_who_missed_more_events_than_are_shown_gets_a_snapshot() -> None:
    board = StateStore("shop")
    for _ in range(EVENTS_SHOWN + 1):
        board.event("x.y", "z")
    assert isinstance(board.update_since(1), Delta)
    assert board.update_since(0) is board.snapshot
    assert len(board.snapshot.events) == EVENTS_SHOWN
    assert [event.number for event in board.snapshot.events][:2] == [2, 3]


def test_who_missed_a_removal_that_is_forgotten_gets_a_snapshot() -> None:
    board = StateStore("shop")
    for number in range(REMOVALS_KEPT + 1):
        board.put_instances(view(str(number)))
        board.drop_instances(str(number))
    assert isinstance(board.update_since(1), Snapshot)
    assert board.update_since(board.revision) is None


def test_a_revision_from_the_future_is_answered_with_a_snapshot() -> None:
    """A dashboard that reconnects to a new supervisor never sees an old view continued."""
    board = StateStore("shop")
    assert board.update_since(99) is board.snapshot


def test_the_latest_ten_thousand_events_can_be_read_back_by_number() -> None:
    board = StateStore("shop")
    assert board.events_since(0) == []
    for _ in range(EVENTS_KEPT + 5):
        board.event("x.y", "z")
    kept = board.events_since(0)
    assert (len(kept), kept[0].number, kept[-1].number) == (EVENTS_KEPT, 6, EVENTS_KEPT + 5)
    assert [event.number for event in board.events_since(EVENTS_KEPT + 3)] == [EVENTS_KEPT + 4, EVENTS_KEPT + 5]
    assert [event.number for event in board.events_since(10, limit=2)] == [11, 12]


def test_an_event_carries_the_clock_and_is_cut_at_its_limit() -> None:
    board = StateStore("shop", clock=lambda: 7.0)
    event = board.event("instance.exited", "x" * 5_000, "error", service="product", instance="product-2")
    assert event == Event(1, 7.0, "instance.exited", "x" * 2_000, "error", "product", "product-2")


def test_a_delta_that_does_not_continue_the_view_is_refused() -> None:
    board = StateStore("shop")
    snapshot = board.snapshot
    board.put_instances(view("a"))
    board.put_instances(view("b"))
    delta = board.update_since(1)
    assert isinstance(delta, Delta)
    with pytest.raises(ValueError, match="continues revision 1"):
        apply_delta(snapshot, delta)
    with pytest.raises(ValueError, match="before the first snapshot"):
        apply_update(None, delta)


def test_text_that_no_utf8_can_carry_does_not_stop_the_board_from_being_shown() -> None:
    board = StateStore("shop")
    board.event("x.y", "half a character: \udc80, an override: \u202e, a C1: \x9b, DEL: \x7f")
    data = encode(board.snapshot)
    assert b"\\u202e" in data
    assert b"\\u009b" in data
    assert b"\\u007f" in data
    assert b"\x7f" not in data
    message = msgspec.json.decode(data)["events"][0]["message"]
    assert message == "half a character: ?, an override: \u202e, a C1: \x9b, DEL: \x7f"


async def test_the_first_change_after_quiet_goes_at_once_and_a_storm_is_gathered(autojump_clock: MockClock) -> None:
    board = StateStore("shop")
    updates = board.subscribe()
    assert await anext(updates) is board.snapshot
    await trio.sleep(1)
    start = trio.current_time()
    board.put_instances(view("a"))
    await anext(updates)
    assert trio.current_time() == start
    count = 0
    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storm, board)
            async for _ in updates:
                count += 1
    assert count <= 1 / UPDATE_INTERVAL_S + 1


async def test_figures_wait_for_their_round_and_go_with_whatever_is_more(autojump_clock: MockClock) -> None:
    board = StateStore("shop")
    updates = board.subscribe()
    await anext(updates)
    await trio.sleep(1)
    board.put_instances(view("a"))
    await anext(updates)
    await trio.sleep(MINOR_UPDATE_INTERVAL_S / 2)
    start = trio.current_time()
    board.put_usage([Usage("a", 1.0, 1)])
    board.put_instances(msgspec.structs.replace(view("a"), checked=5.0, output="200 OK"))
    await anext(updates)
    assert trio.current_time() - start == pytest.approx(MINOR_UPDATE_INTERVAL_S / 2)

    start = trio.current_time()

    async def end_it() -> None:
        await trio.sleep(0.01)
        board.put_instances(msgspec.structs.replace(view("a"), state=ProcessState.STOPPING))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_it)
        board.put_usage([Usage("a", 2.0, 1)])
        update = await anext(updates)
    assert trio.current_time() - start == pytest.approx(0.01)
    assert isinstance(update, Delta)
    assert update.usage[0].cpu == 2.0
    assert update.instances[0].state is ProcessState.STOPPING


async def storm(board: StateStore) -> None:
    for number in range(1_000):
        board.put_instances(view("a", restarts=number))
        await trio.sleep(0.001)


async def test_readers_that_keep_up_get_the_same_objects(autojump_clock: MockClock) -> None:
    board = StateStore("shop")
    seen: list[list[Any]] = [[], [], []]

    async def follow(into: list[Any]) -> None:
        async for update in board.subscribe():
            into.append(update)

    with trio.move_on_after(2):
        async with trio.open_nursery() as nursery:
            for into in seen:
                nursery.start_soon(follow, into)
            nursery.start_soon(storm, board)
    assert len(seen[0]) > 10
    assert [id(update) for update in seen[0]] == [id(update) for update in seen[1]] == [id(u) for u in seen[2]]


async def test_waiting_for_a_condition_ends_when_it_holds(autojump_clock: MockClock) -> None:
    board = StateStore("shop")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storm, board)
        snapshot = await board.wait_for(lambda s: any(row.restarts >= 500 for row in s.instances))
        assert snapshot.instances[0].restarts == 500
        nursery.cancel_scope.cancel()


async def test_who_has_ended_uses_nothing() -> None:
    board = StateStore("shop")
    board.put_instances(InstanceView("a1", "a", "a", ProcessState.RUNNING, pid=7))
    board.put_usage([Usage("a1", 3.0, 1000)])
    board.put_instances(InstanceView("a1", "a", "a", ProcessState.EXITED))
    assert board.snapshot.usage == (Usage("a1", 0.0, 0),)
