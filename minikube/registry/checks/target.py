"""The state that the scheduler keeps for each instance that this node checks."""

import trio

from minikube.health.state import NEVER, Health
from minikube.registry.catalog.records import Record


class CheckTarget:
    """One instance that this node checks."""

    __slots__ = (
        "busy",
        "first_result",
        "health",
        "id",
        "idle",
        "incarnation",
        "is_ttl",
        "planned",
        "renewed_at",
        "url",
    )

    def __init__(self, record: Record, health: Health) -> None:
        self.id = record.id
        self.incarnation = record.instance.incarnation
        self.url = record.instance.health_check
        self.is_ttl = record.is_ttl
        self.health = health
        self.planned = NEVER
        """When the scheduler looks at the target next (monotonic seconds): not later than it is due."""
        self.busy = False
        """Whether a check is under way, until its state is stored."""
        self.idle = trio.Event()
        """Set, and replaced, when the target stops being busy."""
        self.renewed_at: float | None = None
        """When it renewed its lease while it was busy: newer than the result that is being stored."""
        self.first_result = trio.Event()

    @property
    def due(self) -> float:
        """When the next check or the removal is due, whichever is first (monotonic seconds)."""
        return min(self.health.due, self.health.forget_at)
