"""Shares of a server's connections: which connection is closed when there is no room for a new one.

The peer with the most connections loses one: on loopback a peer is a user, elsewhere an address. So a program that opens
connections without end takes room from its own user only, and other clients are never refused.

It refuses to close connections that are protected, and to know what a peer may do.
"""

from collections.abc import Hashable, Iterable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

UNKNOWN_USER = "loopback"
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
    """An open connection, as `choose_connection` sees it."""

    @property
    def peer(self) -> Peer:
        """The client. Asked only when there is no room: finding the user costs 30 µs, once for each connection."""

    @property
    def is_protected(self) -> bool:
        """Whether the connection must not be closed to make room."""

    @property
    def priority(self) -> tuple[Any, ...]:
        """Of one peer's connections the one with the lowest priority is closed first."""


C = TypeVar("C", bound=SharedConnection)


def choose_connection(connections: Iterable[C], newcomer: C) -> C | None:
    """Return the connection to close so that there is room for `newcomer`; None if all are protected.

    It is one of the peer that has the most connections, the newcomer and no protected one counted.
    """
    shares: dict[Hashable, list[C]] = {}
    for connection in connections:
        if not connection.is_protected:
            shares.setdefault(connection.peer.share, []).append(connection)
    if not shares:
        return None
    newcomer_share = newcomer.peer.share

    def count(share: Hashable) -> int:
        return len(shares[share]) + (share == newcomer_share)

    most = max(map(count, shares))
    # Several peers may have as many; then the priority decides among all of them.
    candidates = [connection for share in shares if count(share) == most for connection in shares[share]]
    return min(candidates, key=_priority)


def _priority(connection: SharedConnection) -> tuple[Any, ...]:
    return connection.priority


def closed_for_room(limit: int, peer: Peer) -> str:
    """Return the reason that the client of a closed connection is told."""
    return f"closed to make room: {limit:,} connections are open, and {peer} has the most — close those that are idle"
