"""What a roll-out does next. Pure: the states of a service's replicas in, the replicas to restart now out.

A queued replica is restarted when there is room: `max_unavailable` may be away at once, and replicas that are not ready anyway go
first. When one does not come back, the roll-out ends and leaves the others alone: what runs is better than what might not.
"""

from collections.abc import Sequence

from msgspec import Struct


class Replica(Struct, frozen=True):
    """The state of one replica that is to run."""

    name: str
    queued: bool = False
    """It is to be restarted by this roll-out."""
    ready: bool = False
    awaited: bool = False
    """It was restarted by this roll-out, and is not ready yet."""


class Step(Struct, frozen=True):
    """What to do next, by names of replicas."""

    restart: tuple[str, ...] = ()
    """Restart these now."""
    skip: tuple[str, ...] = ()
    """Leave these as they are; the roll-out does not reach them any more."""
    done: bool = False
    """The roll-out is over."""


def next_step(replicas: Sequence[Replica], max_unavailable: int, *, failed: bool = False) -> Step:
    """Return what to do next. `failed`: a replica did not come back since the last request."""
    queued = [replica for replica in replicas if replica.queued]
    away = [replica for replica in replicas if replica.awaited and not replica.queued]
    if failed:
        return Step(skip=tuple(replica.name for replica in queued), done=not away)
    # A replica that is queued again while it is awaited does not count as away: it is the first to be restarted.
    room = max(max_unavailable - len(away), 0)
    restart = tuple(replica.name for replica in sorted(queued, key=lambda replica: replica.ready)[:room])
    return Step(restart, done=not queued and not away)
