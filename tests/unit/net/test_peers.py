"""Which connection is closed when there is no room for a new one."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from minikube.net.peers import Peer, choose_connection


class Connection(Struct, frozen=True):
    peer: Peer
    is_protected: bool = False
    priority: tuple[Any, ...] = ()


peers = st.builds(Peer, st.sampled_from(["127.0.0.1", "::1"]), st.sampled_from([0, 1000, None])) | st.builds(
    Peer, st.sampled_from(["192.0.2.1", "2001:db8::1"])
)
connections = st.builds(Connection, peers, st.booleans(), st.tuples(st.booleans(), st.integers(0, 5)))


@given(st.lists(connections, max_size=30), connections)
def test_the_peer_with_the_most_connections_loses_the_one_of_lowest_priority(
    others: list[Connection], newcomer: Connection
) -> None:
    free = [connection for connection in others if not connection.is_protected]
    chosen = choose_connection(others, newcomer)
    if not free:
        assert chosen is None
        return
    assert chosen in free
    counts = Counter(connection.peer.share for connection in [*free, newcomer])
    held = {share: count for share, count in counts.items() if any(other.peer.share == share for other in free)}
    assert counts[chosen.peer.share] == max(held.values())
    rivals = [connection for connection in free if connection.peer.share == chosen.peer.share]
    assert chosen.priority == min(connection.priority for connection in rivals)


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
