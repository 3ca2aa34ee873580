"""What a roll-out does next (floor 3, pure): how the replicas of one service stand, in; whom to restart now, out.

Whoever is due is restarted when there is room: `at_a_time` may be away at once, and those that are unavailable anyway go first. One
that was lost on the way is the end of it: the others are left alone, because what runs is better than what might not.

It refuses to know what was asked, how often and by whom: a wish that comes meanwhile makes replicas due (again), or none.
"""

from collections.abc import Sequence

from msgspec import Struct


class Replica(Struct, frozen=True):
    """One that is wanted. `due`: it is to be restarted; `ready`: it is well; `awaited`: it was restarted, and is to get well."""

    name: str
    due: bool = False
    ready: bool = False
    awaited: bool = False


class Step(Struct, frozen=True):
    """`begin` and `leave` are names: to be restarted now, and not to be restarted any more. `over`: nothing is left to wait for."""

    begin: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    over: bool = False


def next_step(replicas: Sequence[Replica], at_a_time: int, *, lost: bool = False) -> Step:
    """`lost`: one did not get well since anything was asked last."""
    due = [one for one in replicas if one.due]
    away = [one for one in replicas if one.awaited and not one.due]
    if lost:
        return Step(leave=tuple(one.name for one in due), over=not away)
    room = max(at_a_time - len(away), 0)
    begin = tuple(one.name for one in sorted(due, key=lambda one: one.ready)[:room])
    return Step(begin, over=not due and not away)
