"""Which registry node probes which instance. Pure.

Every node's heartbeat increments its counter in Redis. A node is alive for an observer that saw its counter move within
the observer's own last few heartbeats. Among the nodes that are alive, rendezvous hashing gives each instance to one node; when
a node dies, only its instances move.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

DEAD_AFTER_HEARTBEATS = 4
"""A node is dead when its counter stands still for so many of this node's own heartbeats (one a second)."""

REMOVE_AFTER_HEARTBEATS = 120
"""A node that is dead for so long is removed from the table in Redis."""


class LiveNodes:
    """The registry nodes that are alive, as this node sees them; it always counts itself."""

    # No wall clock and no TTL of Redis: an observer that was itself paused had no heartbeats meanwhile, and so
    # declares no other node dead.

    def __init__(self, own_id: str) -> None:
        self.own_id = own_id
        self.alive: tuple[str, ...] = (own_id,)
        """Their ids, sorted."""
        self._counters: dict[str, int] = {}
        self._unchanged: dict[str, int] = {}

    def update(self, counters: Mapping[str, int]) -> tuple[bool, list[str]]:
        """Take the counters of one heartbeat; return whether `alive` changed, and the ids to remove from the table."""
        for node, counter in counters.items():
            known = self._counters.get(node)
            if known is None:
                self._unchanged[node] = DEAD_AFTER_HEARTBEATS  # alive only once its counter is seen to move
            elif counter != known:
                self._unchanged[node] = 0
            else:
                self._unchanged[node] += 1
        for node in self._unchanged.keys() - counters.keys():
            del self._unchanged[node]
        self._counters = dict(counters)
        alive = sorted(
            {self.own_id, *(node for node, count in self._unchanged.items() if count < DEAD_AFTER_HEARTBEATS)},
        )
        changed = tuple(alive) != self.alive
        self.alive = tuple(alive)
        to_remove = [
            node for node, count in self._unchanged.items() if count > REMOVE_AFTER_HEARTBEATS and node != self.own_id
        ]
        return changed, to_remove

    def owns(self, id_: str) -> bool:
        """Return whether this node probes the instance."""
        return len(self.alive) == 1 or owner_of(id_, self.alive) == self.own_id


def owner_of(id_: str, nodes: Iterable[str]) -> str:
    """Return the node with the highest hash of node and `id_` (rendezvous hashing, Thaler and Ravishankar 1996)."""
    return max(nodes, key=lambda node: blake2b(f"{node} {id_}".encode(), digest_size=8).digest())
