"""Which registry probes what: everyone agrees, only the dead node's share moves, and a pause buries nobody."""

from hypothesis import given
from hypothesis import strategies as st

from minikube.registry.checks.sharding import DEAD_AFTER_BEATS, FORGET_AFTER_BEATS, Nodes, owner

names = st.lists(st.text("abcdef0123456789", min_size=8, max_size=8), min_size=2, max_size=6, unique=True)


@given(names, st.lists(st.text(min_size=1, max_size=8), max_size=20))
def test_only_a_dead_nodes_share_moves(nodes: list[str], ids: list[str]) -> None:
    dead, *living = nodes
    for id_ in ids:
        before = owner(id_, nodes)
        assert owner(id_, reversed(nodes)) == before
        if before != dead:
            assert owner(id_, living) == before


def test_a_node_lives_once_it_was_seen_to_move_and_dies_when_it_stands_still() -> None:
    mine = Nodes("a")
    assert mine.beat({"a": 1, "b": 7, "ghost": 3}) == (False, [])
    assert [*mine.living] == ["a"]
    assert mine.beat({"a": 2, "b": 8, "ghost": 3})[0]
    assert [*mine.living] == ["a", "b"]
    for beat in range(DEAD_AFTER_BEATS - 1):
        assert mine.beat({"a": 3 + beat, "b": 8, "ghost": 3}) == (False, [])
    assert mine.beat({"a": 9, "b": 8, "ghost": 3}) == (True, [])
    assert [*mine.living] == ["a"]
    lost: set[str] = set()
    for beat in range(FORGET_AFTER_BEATS):
        lost |= set(mine.beat({"a": 10 + beat, "b": 8, "ghost": 3})[1])
    assert lost == {"b", "ghost"}


def test_a_node_that_says_farewell_is_gone_at_once() -> None:
    mine = Nodes("a")
    for beat in range(3):
        mine.beat({"a": beat, "b": beat})
    assert [*mine.living] == ["a", "b"]
    assert mine.beat({"a": 4})[0]
    assert [*mine.living] == ["a"]
    assert mine.mine("anything")
