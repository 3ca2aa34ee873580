"""Which connection is closed when there is no room for a new one."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from minikube.net.peers import Peer, RoomMaker


class Connection(Struct, frozen=True):
    peer: Peer
    is_protected: bool = False
    priority: tuple[Any, ...] = ()
    is_open: bool = True


peers = st.builds(Peer, st.sampled_from(["127.0.0.1", "::1"]), st.sampled_from([0, 1000, None])) | st.builds(
    Peer, st.sampled_from(["192.0.2.1", "2001:db8::1"])
)
connections = st.builds(Connection, peers, st.booleans(), st.tuples(st.booleans(), st.integers(0, 5)))


@given(st.lists(connections, max_size=30), connections)
def test_the_peer_with_the_most_connections_loses_the_one_of_lowest_priority(
    others: list[Connection], newcomer: Connection
) -> None:
    free = [connection for connection in others if not connection.is_protected]
    chosen = RoomMaker[Connection]().choose(others, newcomer)
    if not free:
        assert chosen is None
        return
    assert chosen in free
    counts = Counter(connection.peer.share for connection in [*free, newcomer])
    held = {share: count for share, count in counts.items() if any(other.peer.share == share for other in free)}
    assert counts[chosen.peer.share] == max(held.values())
    rivals = [connection for connection in free if connection.peer.share == chosen.peer.share]
    assert chosen.priority == min(connection.priority for connection in rivals)


class Used(Struct, eq=False):
    """A connection whose state changes."""

    peer: Peer
    priority: tuple[Any, ...]
    is_protected: bool = False
    is_open: bool = True


@given(
    st.lists(st.sampled_from(["a", "a", "a", "b", "c"]), min_size=1, max_size=200),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]), st.integers(0, 199), st.sampled_from(["", "use", "protect", "close"])
        )
    ),
)
def test_a_peer_never_loses_connections_to_one_that_has_more(
    hosts: list[str], steps: list[tuple[str, int, str]]
) -> None:
    """Although several connections are chosen at once, and used, protected or closed before their turn."""
    maker = RoomMaker[Used]()
    connections = [Used(Peer(host), (number,)) for number, host in enumerate(hosts)]
    for clock, (host, index, change) in enumerate(steps, len(hosts)):
        if connections:
            used = connections[index % len(connections)]
            match change:
                case "use":
                    used.priority = (clock,)
                case "protect":
                    used.is_protected = True
                case "close":
                    used.is_open = False
                    connections.remove(used)
        newcomer = Used(Peer(host), (clock,))
        chosen = maker.choose(connections, newcomer)
        free = [connection for connection in connections if not connection.is_protected]
        if chosen is None:
            assert not free
        else:
            assert chosen in free
            counts = Counter(connection.peer.share for connection in [*free, newcomer])
            most = max(counts[connection.peer.share] for connection in free)
            # One closed by itself since they were chosen is the only thing that the choice does not see.
            closed = sum(change == "close" or change == "protect" for _, _, change in steps)
            assert counts[chosen.peer.share] >= most - closed
            rivals = [connection for connection in free if connection.peer.share == chosen.peer.share]
            assert chosen.priority == min(connection.priority for connection in rivals)
            connections.remove(chosen)
        connections.append(newcomer)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (Peer("127.0.0.1", 1000), Peer("::1", 1000), True),
        (Peer("127.0.0.1", 1000), Peer("127.0.0.1", 1001), False),
        (Peer("127.0.0.1", 0), Peer("127.0.0.1"), False),
        (Peer("127.0.0.1"), Peer("127.9.9.9"), True),
        (Peer("127.0.0.1"), Peer("::ffff:127.0.0.2"), True),
        (Peer("192.0.2.1"), Peer("192.0.2.1"), True),
        (Peer("192.0.2.1"), Peer("192.0.2.2"), False),
    ],
)
def test_a_peer_is_a_user_on_loopback_and_an_address_elsewhere(one: Peer, other: Peer, is_same: bool) -> None:
    assert (one.share == other.share) is is_same


def test_a_user_and_an_address_are_named() -> None:
    assert (str(Peer("127.0.0.1", 1000)), str(Peer("192.0.2.1"))) == ("user 1000", "192.0.2.1")
