"""Sharding of instances over registry nodes: all nodes agree, and a node that was paused declares no other one dead."""

from hypothesis import given
from hypothesis import strategies as st

from minikube.registry.sharding import DEAD_AFTER_HEARTBEATS, REMOVE_AFTER_HEARTBEATS, LiveNodes, owner_of

names = st.lists(st.text("abcdef0123456789", min_size=8, max_size=8), min_size=2, max_size=6, unique=True)


@given(names, st.lists(st.text(min_size=1, max_size=8), max_size=20))
def test_only_a_dead_nodes_share_moves(nodes: list[str], ids: list[str]) -> None:
    dead, *alive = nodes
    for id_ in ids:
        before = owner_of(id_, nodes)
        assert owner_of(id_, reversed(nodes)) == before
        if before != dead:
            assert owner_of(id_, alive) == before


def test_a_node_is_alive_once_its_counter_moves_and_dead_when_it_stands_still() -> None:
    nodes = LiveNodes("a")
    assert nodes.update({"a": 1, "b": 7, "ghost": 3}) == (False, [])
    assert [*nodes.alive] == ["a"]
    assert nodes.update({"a": 2, "b": 8, "ghost": 3})[0]
    assert [*nodes.alive] == ["a", "b"]
    for number in range(DEAD_AFTER_HEARTBEATS - 1):
        assert nodes.update({"a": 3 + number, "b": 8, "ghost": 3}) == (False, [])
    assert nodes.update({"a": 9, "b": 8, "ghost": 3}) == (True, [])
    assert [*nodes.alive] == ["a"]
    to_remove: set[str] = set()
    for number in range(REMOVE_AFTER_HEARTBEATS):
        to_remove |= set(nodes.update({"a": 10 + number, "b": 8, "ghost": 3})[1])
    assert to_remove == {"b", "ghost"}


def test_a_node_that_removes_itself_is_dead_at_once() -> None:
    nodes = LiveNodes("a")
    for number in range(3):
        nodes.update({"a": number, "b": number})
    assert [*nodes.alive] == ["a", "b"]
    assert nodes.update({"a": 4})[0]
    assert [*nodes.alive] == ["a"]
    assert nodes.owns("anything")
