"""What goes to Redis and comes back (floor 3, pure): apart from `wire`, so that it can be had without redis-py."""

from msgspec import Struct

from minikube.model import ChangeKind
from minikube.registry.catalog.records import Record


class Write(Struct, frozen=True):
    """One write: `record` is put or goes, if the stored one still has revision `expected` (0: there is none)."""

    kind: ChangeKind
    record: Record
    expected: int
    old: Record | None = None
    incarnation: int = 0
    """0: a new one is given out."""


class Heartbeat(Struct, frozen=True):
    """What a heartbeat saw."""

    clock: float
    epoch: str
    revision: int
    nonce: str
    registrations: int
    nodes: dict[str, int]
    leases: dict[str, int] | None
    """Renewals so far, by id; None where they were not asked for."""
