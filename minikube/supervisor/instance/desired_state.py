"""What is wanted of an instance (floor 3, pure): by hand, by its schedule, by its own checks. What was asked, in; the wish, out.

    started     is to run; whoever is being removed is not asked any more
    stopped     is not to run, nor by its schedule; a restart that was asked for and has not begun is forgotten
    restarted   its life is to end, and another one to follow
    queued      the same when its turn comes, in a roll-out; a life that begins before is one that begins after it was asked
    removed     stopped, for ever
    failing     its life is to end because its check says so; what follows is the restart policy's

It refuses to know whether any of it is so yet: that is `lifecycle`'s.
"""

from msgspec import Struct
from msgspec.structs import replace


class DesiredState(Struct, frozen=True):
    """`rests`: its schedule does not count, because it was stopped by hand."""

    runs: bool = True
    rests: bool = False
    again: bool = False
    turn: bool = False
    """Its turn to be restarted is to come."""
    unwell: str = ""
    """Why its present life is to end although it is to run; empty: it is not."""
    removed: bool = False

    @property
    def ends_life(self) -> bool:
        """Whether the life that goes on is to end."""
        return not self.runs or self.again or bool(self.unwell)

    @property
    def is_failure(self) -> bool:
        """Whether an end that we bring about is nobody's wish, but its check's doing."""
        return self.runs and not self.again and bool(self.unwell)


def scheduled(chosen: bool) -> DesiredState:
    """Before a scheduled one's first time."""
    return DesiredState(runs=False, rests=not chosen)


def started(wish: DesiredState) -> DesiredState:
    return wish if wish.removed else replace(wish, runs=True, rests=False)


def stopped(wish: DesiredState) -> DesiredState:
    return replace(wish, runs=False, rests=True, again=False, turn=False)


def restarted(wish: DesiredState) -> DesiredState:
    return wish if wish.removed else replace(wish, runs=True, rests=False, again=True, turn=False)


def queued(wish: DesiredState) -> DesiredState:
    return replace(wish, turn=True) if wish.runs and not wish.again else wish


def left_alone(wish: DesiredState) -> DesiredState:
    """The roll-out does not come as far as this one."""
    return replace(wish, turn=False)


def removed(wish: DesiredState) -> DesiredState:
    return replace(stopped(wish), removed=True)


def failing(wish: DesiredState, reason: str) -> DesiredState:
    return replace(wish, unwell=reason)


def life_ended(wish: DesiredState) -> DesiredState:
    """Its check's word was of that life alone."""
    return replace(wish, unwell="")


def taken_up(wish: DesiredState) -> DesiredState:
    """The life that was asked for is what comes next."""
    return replace(wish, again=False)


def begun(wish: DesiredState) -> DesiredState:
    """What begins now is younger than whatever was asked before."""
    return replace(wish, turn=False)


def resting_as(wish: DesiredState, before: DesiredState) -> DesiredState:
    """Stopped for a moment and not to run at once: its schedule counts as it did before."""
    return replace(wish, rests=before.rests)
