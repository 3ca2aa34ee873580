"""When an instance's present life began (floor 3, pure): what tells its entry in the registry from one of an earlier life."""

from msgspec import Struct

from minikube.model import Instance

STAMP_S = 0.001
"""How exactly the registry keeps when an instance was registered."""


class Generation(Struct, frozen=True):
    """One life's: by the wall clock (Unix), by a clock that nobody sets, and the incarnation (0: none) that the registry
    was known to have then."""

    wall: float
    clock: float
    known: int = 0

    def is_after(self, found: Instance, wall: float, clock: float) -> bool:
        """Whether `found` is of an earlier life; `wall` and `clock` are the time now.

        An incarnation that was known before is. Of another one its time of registration tells; where the wall clock was
        set back meanwhile, it is compared with when this life began by the clock as it is now.
        """
        if self.known and found.incarnation == self.known:
            return True
        since = min(self.wall, wall - (clock - self.clock))
        return found.registered + STAMP_S < since
