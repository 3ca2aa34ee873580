"""Shares of a server's connections: which connection is closed when there is no room for a new one.

The peer with the most connections loses one: on loopback a peer is a user, elsewhere an address. So a program that opens
connections without end takes room from its own user only, and other clients are never refused.

It refuses to close connections that are protected, and to know what a peer may do.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from heapq import nsmallest
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

CHOSEN_AT_ONCE: Final = 64
UNKNOWN_USER: Final = "loopback"
"""The share of loopback clients whose user is unknown. One for all: a program may use any of 16 million addresses there."""


class Peer(Struct, frozen=True):
    """The client at the other end of a connection."""

    host: str
    """The client's IP address."""
    uid: int | None = None
    """The user id of the client's process; None unless it is on loopback and its socket is open."""

    @property
    def share(self) -> Hashable:
        """Connections with the same value count as one peer's."""
        if self.uid is not None:
            return self.uid
        return UNKNOWN_USER if self._is_loopback else self.host

    @property
    def _is_loopback(self) -> bool:
        return self.host == "::1" or self.host.removeprefix("::ffff:").startswith("127.")

    def __str__(self) -> str:
        return self.host if self.uid is None else f"user {self.uid}"


class SharedConnection(Protocol):
    """An open connection, as `RoomMaker` sees it."""

    @property
    def peer(self) -> Peer:
        """The client. Asked only when there is no room: finding the user costs 30 µs, once for each connection."""

    @property
    def is_open(self) -> bool:
        """Whether the connection is still open."""

    @property
    def is_protected(self) -> bool:
        """Whether the connection must not be closed to make room."""

    @property
    def priority(self) -> tuple[Any, ...]:
        """Of one peer's connections the one with the lowest priority is closed first."""


C = TypeVar("C", bound=SharedConnection)


class RoomMaker(Generic[C]):
    """Chooses the connections of one server that are closed to make room."""

    def __init__(self) -> None:
        self._next: deque[tuple[C, tuple[Any, ...]]] = deque()
        """The connections to close next, with the priorities that they had when they were chosen."""

    def choose(self, connections: Iterable[C], newcomer: C) -> C | None:
        """Return the connection to close so that there is room for `newcomer`; None if all are protected.

        It is one of the peer that has the most connections, the newcomer and no protected one counted.
        """
        # To look at 1,024 connections takes 2 ms. Several are chosen at once, so that a flood costs 40 µs a connection.
        while self._next:
            connection, priority = self._next.popleft()
            # One that was used meanwhile is not the idlest any more.
            if connection.is_open and not connection.is_protected and connection.priority == priority:
                return connection
        self._next.extend(_choose(connections, newcomer))
        return self._next.popleft()[0] if self._next else None


def _choose(connections: Iterable[C], newcomer: C) -> list[tuple[C, tuple[Any, ...]]]:
    """Return connections to close, the first one first, with their priorities; none if all are protected."""
    shares: dict[Hashable, list[C]] = {}
    for connection in connections:
        if not connection.is_protected:
            shares.setdefault(connection.peer.share, []).append(connection)
    counts = {share: len(members) for share, members in shares.items()}
    newcomer_share = newcomer.peer.share
    if newcomer_share in counts:
        counts[newcomer_share] += 1
    most = max(counts.values(), default=0)
    # Several peers may have as many; then the priority decides among all of them.
    heaviest = [share for share, count in counts.items() if count == most]
    second = max((count for count in counts.values() if count < most), default=0)
    # Until this many are closed, no other peer has more, even if every newcomer is another peer's.
    count = max(1, min(CHOSEN_AT_ONCE, (most - second) // 2)) if len(heaviest) == 1 else 1
    candidates = [(connection, connection.priority) for share in heaviest for connection in shares[share]]
    return nsmallest(count, candidates, key=itemgetter(1))


def closed_for_room(limit: int, peer: Peer) -> str:
    """Return the reason that the client of a closed connection is told."""
    return f"closed to make room: {limit:,} connections are open, and {peer} has the most — close those that are idle"
