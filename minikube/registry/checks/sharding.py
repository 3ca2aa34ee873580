"""Which registry node probes which instance (floor 3, pure).

Every node's heartbeat is a counter in Redis. A node lives for an observer who saw its counter move within the
observer's own last few heartbeats: no wall clock, no TTL, and an observer that was itself paused (no heartbeats of
its own) buries nobody. Among the living, rendezvous hashing gives each instance one node, and moves only a dead
node's share.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

DEAD_AFTER_BEATS = 4
"""A node whose counter stood still for so many of my own beats (one a second) is dead."""

FORGET_AFTER_BEATS = 120
"""A node dead for so long is removed from the table."""


class Nodes:
    """The living registries as this one sees them."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.living: tuple[str, ...] = (own,)
        self._counters: dict[str, int] = {}
        self._still: dict[str, int] = {}

    def beat(self, counters: Mapping[str, int]) -> tuple[bool, list[str]]:
        """One heartbeat of ours saw these counters. Returns whether the living changed, and whom to forget."""
        for node, counter in counters.items():
            known = self._counters.get(node)
            if known is None:
                self._still[node] = DEAD_AFTER_BEATS  # it lives once it was seen to move
            elif counter != known:
                self._still[node] = 0
            else:
                self._still[node] += 1
        for node in self._still.keys() - counters.keys():
            del self._still[node]
        self._counters = dict(counters)
        living = sorted(
            {self.own, *(node for node, still in self._still.items() if still < DEAD_AFTER_BEATS)},
        )
        changed = tuple(living) != self.living
        self.living = tuple(living)
        lost = [node for node, still in self._still.items() if still > FORGET_AFTER_BEATS and node != self.own]
        return changed, lost

    def mine(self, id_: str) -> bool:
        """Whether this node probes the instance."""
        return len(self.living) == 1 or owner(id_, self.living) == self.own


def owner(id_: str, nodes: Iterable[str]) -> str:
    """The node with the highest hash together with `id_` (rendezvous hashing, Thaler and Ravishankar 1996)."""
    return max(nodes, key=lambda node: blake2b(f"{node} {id_}".encode(), digest_size=8).digest())
