"""The next step of a roll-out: which replicas to restart now, from the states of all replicas of the service. Pure.

At most `max_unavailable` replicas restart at a time, and replicas that are not ready are restarted first. When a restarted
replica does not become ready, the roll-out ends, and the old processes of the other replicas go on.
"""

from collections.abc import Sequence

from msgspec import Struct


class Replica(Struct, frozen=True):
    """The state of one replica, for `next_step`."""

    name: str
    queued: bool = False
    """It is to be restarted by this roll-out."""
    ready: bool = False
    awaited: bool = False
    """It was restarted by this roll-out, and is not ready yet."""


class Step(Struct, frozen=True):
    """The next step of a roll-out. Replicas are given by name."""

    restart: tuple[str, ...] = ()
    """Restart these now."""
    skip: tuple[str, ...] = ()
    """Leave these as they are; the roll-out does not reach them any more."""
    done: bool = False
    """The roll-out is over."""


def next_step(replicas: Sequence[Replica], max_unavailable: int, *, failed: bool = False) -> Step:
    """Return the next step of a roll-out. `replicas` are those of the service that are to run.

    `max_unavailable` is the most replicas that may be restarting at a time. `failed`: a restarted replica did not
    become ready.
    """
    queued = [replica for replica in replicas if replica.queued]
    away = [replica for replica in replicas if replica.awaited and not replica.queued]
    if failed:
        return Step(skip=tuple(replica.name for replica in queued), done=not away)
    # A replica that is queued again while it is awaited does not count as away: it is the first to be restarted.
    room = max(max_unavailable - len(away), 0)
    restart = tuple(replica.name for replica in sorted(queued, key=lambda replica: replica.ready)[:room])
    return Step(restart, done=not queued and not away)
