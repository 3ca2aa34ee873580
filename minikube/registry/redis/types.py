"""Structs that pass between trio and the Redis threads. Importable without redis-py."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import trio
from msgspec import Struct

from minikube.model import ChangeKind
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot


class Write(Struct, frozen=True):
    """Put or remove `record`, if the stored one still has the revision `expected` (0: there is none)."""

    kind: ChangeKind
    record: Record
    expected: int
    old: Record | None = None
    """The record that is replaced."""
    incarnation: int = 0
    """The record's incarnation; 0: Redis gives out a new one."""


class LeaseRenewal(Struct, frozen=True):
    """A request to announce to the other registries that the `ttl:` instance with this id renewed its lease."""

    id: str


class RevisionQuery(Struct, frozen=True):
    """A request for the revision of the last write in Redis."""


class CommitResult(NamedTuple):
    """The result of a write that Redis decided on."""

    committed: bool
    """False: another registry changed the record first."""
    revision: int
    """The write's revision if committed, else the revision of the last write in Redis."""
    incarnation: int = 0


class PendingRequest:
    """A request on its way to Redis. Once `done` is set, it has a `result`, or a `failure` with the reason."""

    __slots__ = ("attempts", "deadline", "done", "epoch", "failure", "known", "nonce", "request", "result")

    def __init__(
        self, request: Write | LeaseRenewal | RevisionQuery, deadline: float, nonce: str, epoch: str, known: int
    ) -> None:
        self.request = request
        self.epoch, self.known = epoch, known
        """The catalog's epoch and revision when the request was queued."""
        self.deadline = deadline
        """By `time.monotonic`. 0: the caller gave up."""
        self.nonce = nonce
        self.done = trio.Event()
        self.attempts = 0
        self.result: CommitResult | None = None
        self.failure = ""

    @property
    def is_answered(self) -> bool:
        """Whether it has a result or a failure."""
        return self.result is not None or bool(self.failure)


class Heartbeat(Struct, frozen=True):
    """What Redis replied to one heartbeat of this node."""

    clock: float
    """The time of Redis (Unix seconds)."""
    epoch: str
    revision: int
    nonce: str
    registrations: int
    nodes: dict[str, int]
    """The heartbeat counter of each registry node."""
    renewals: dict[str, int] | None
    """Renewals so far of each `ttl:` instance; None when they were not asked for."""


class StoreState(Struct, frozen=True):
    """Whether Redis can be used: `ok` or `down`, since when (Unix seconds), and the reason."""

    state: str
    since: float
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether Redis can be used."""
        return self.state == "ok"


class CatalogPosition(Struct, frozen=True):
    """The position of the catalog in the history, for comparison with Redis."""

    epoch: Epoch
    revision: int
    nonce: str
    registrations: int
    has_gap: bool


class CatalogDump(Struct, frozen=True):
    """The whole content of the catalog, for restoring a Redis that lost data."""

    position: CatalogPosition
    records: tuple[Record, ...]
    tombstones: tuple[Entry, ...]
    log: tuple[Entry, ...]


class StoreListener(Protocol):
    """The interface for data that the Redis threads have read. All methods run in the trio thread and must not block."""

    def position(self) -> CatalogPosition:
        """Return the catalog's position in the history of changes."""

    def history(self) -> tuple[str, int]:
        """Return the id of the catalog's epoch, and its revision."""

    def dump(self) -> CatalogDump:
        """Return the whole content of the catalog."""

    def next_records(self, least: int, parts: int) -> tuple[CatalogPosition, Sequence[Record]]:
        """Return the next part of the records in turn, at least `least`, for an audit; and where the catalog stands."""

    def on_snapshot(self, snapshot: StoreSnapshot, unsaved: Sequence[Write]) -> None:
        """Load the snapshot into the catalog, then write `unsaved` again: changes that Redis lost."""

    def on_committed(self, write: Write, result: CommitResult, nonce: str) -> None:
        """Apply a write of this node that is durable now."""

    def on_entries(self, entries: Sequence[Entry]) -> None:
        """Apply entries of the change log that other registries wrote."""

    def on_heartbeat(self, heartbeat: Heartbeat) -> Sequence[str]:
        """Process the reply to a heartbeat; return the ids of nodes to remove from Redis."""

    def on_state(self, state: StoreState) -> None:
        """Store the new state of Redis."""
