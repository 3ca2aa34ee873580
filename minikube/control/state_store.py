"""The status board (floor 3): one immutable snapshot of everything that is shown, and who is told of changes.

The supervisor's tasks write to it with the plain, synchronous mutators; the CLI, the API, the stream and the
dashboard only ever see `Snapshot` and `Delta`. Rows are merged by id or name, and every mutation that changes
something makes a new revision.

A reader costs one integer, the revision it has seen: what it missed is worked out when it is ready for more. So a
slow reader gets fewer and larger updates, or a fresh snapshot, and no queue grows for it. Readers that keep up move
from one revision to the same next one, so they share one `Delta` object, which `stream.py` encodes once.

It refuses to decide anything about services, to do I/O, and to be called from outside the trio thread.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

import msgspec
import trio

from minikube.control.client.snapshot import EVENTS_SHOWN
from minikube.control.instance_counters import InstanceCounters
from minikube.model import (
    Delta,
    Event,
    InstanceView,
    PartView,
    ServiceView,
    Snapshot,
    Usage,
)

UPDATE_INTERVAL_S = 0.05
"""The least time between two rounds of updates: the first change after quiet goes out at once, later ones wait for
their round. 50 ms keeps an exit within the 100 ms that a change may take to be shown in the middle of a storm."""

FIGURES_INTERVAL_S = 0.5
"""The same for rounds of nothing but figures: usage, and checks that said again what they had said. With a hundred
instances there is always one. They hold nothing up: any other change takes them along at once."""

EVENTS_KEPT = 10_000
TOMBSTONES_KEPT = 1_000
MESSAGE_LIMIT = 2_000
DELTAS_READY = 16
"""How many ready deltas of the current revision are kept for readers that come from the same one."""

Row = TypeVar("Row")
Update = Snapshot | Delta


class _Table(Generic[Row]):
    """Rows of one kind by key, in the order in which they came, with the revision of each one's last change."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.forgotten = 0
        """The revision of the newest removal that is no longer known: readers before it need a snapshot."""
        self._born: dict[str, int] = {}
        self._births = 0
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def put(self, key: str, row: Row, revision: int) -> None:
        if key not in self.rows:
            self._births += 1
            self._born[key] = self._births
        self.rows[key] = row
        self._changed.pop(key, None)
        self._changed[key] = revision

    def drop(self, key: str, revision: int) -> None:
        del self.rows[key], self._born[key], self._changed[key]
        self._gone.pop(key, None)
        self._gone[key] = revision
        if len(self._gone) > TOMBSTONES_KEPT:
            oldest = next(iter(self._gone))
            self.forgotten = self._gone.pop(oldest)

    def since(self, revision: int) -> tuple[Row, ...]:
        """Rows changed after `revision`, in the order of the table, so that new ones can simply be appended."""
        keys = list(_newer(self._changed, revision))
        keys.sort(key=self._born.__getitem__)
        return tuple(self.rows[key] for key in keys)

    def gone_since(self, revision: int) -> tuple[str, ...]:
        """Keys removed after `revision`; one that came back is also in `since`, as a row to append."""
        return tuple(_newer(self._gone, revision))


class StateStore:
    """What is known about the project, versioned. All methods but those that wait (`wait_…`) are synchronous and cheap.

    `clock` gives Unix seconds. Rows equal to what is already there change nothing and make no revision.
    """

    def __init__(
        self,
        project: str,
        *,
        version: str = "",
        manifest: str = "",
        registry: str = "",
        phase: str = "starting",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.followed = trio.Event()
        """Set once somebody follows the events."""
        self._clock = clock
        self._project = project
        self._version = version
        self._manifest = manifest
        self._registry = registry
        self._pid = os.getpid()
        self._started = self._time = clock()
        self._revision = 0
        self._phase = phase
        self._phase_revision = 0
        self._parts: _Table[PartView] = _Table()
        self._services: _Table[ServiceView] = _Table()
        self._instances: _Table[InstanceView] = _Table()
        self._usage: _Table[Usage] = _Table()
        self.tally = InstanceCounters()
        self._events: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT)
        self._event_number = 0
        self._snapshot: Snapshot | None = None
        self._deltas: dict[int, Delta] = {}
        self._waiting = trio.lowlevel.ParkingLot()
        self._hurried = trio.lowlevel.ParkingLot()
        self._urgent = 0
        """The revision of the latest change that is more than figures."""
        self._published = 0
        self._due = self._figures_due = float("-inf")

    # ------------------------------------------------------------ reading

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def snapshot(self) -> Snapshot:
        """Everything as it stands now; the same object until the next change."""
        if self._snapshot is None:
            shown = islice(reversed(self._events), EVENTS_SHOWN)
            self._snapshot = Snapshot(
                project=self._project,
                revision=self._revision,
                time=self._time,
                started=self._started,
                version=self._version,
                pid=self._pid,
                phase=self._phase,
                parts=tuple(self._parts.rows.values()),
                services=tuple(self._services.rows.values()),
                instances=tuple(self._instances.rows.values()),
                usage=tuple(self._usage.rows.values()),
                events=tuple(event for _, event in shown)[::-1],
                manifest=self._manifest,
                registry=self._registry,
            )
        return self._snapshot

    def instance(self, id: str) -> InstanceView | None:
        return self._instances.rows.get(id)

    def service(self, name: str) -> ServiceView | None:
        return self._services.rows.get(name)

    def events_since(self, number: int, limit: int = EVENTS_KEPT) -> list[Event]:
        """The oldest `limit` events with a number above `number` that are still known (the latest 10,000)."""
        if not self._events:
            return []
        first = self._events[0][1].number
        start = max(0, number + 1 - first)
        return [event for _, event in islice(self._events, start, start + limit)]

    def update_since(self, revision: int) -> Update | None:
        """What brings a reader of `revision` up to date: a delta, a snapshot if that is the shorter way, or None."""
        if revision == self._revision:
            return None
        if not self._tables_reach(revision):
            return self.snapshot
        delta = self._deltas.get(revision)
        if delta is None:
            delta = self._make_delta(revision)
            if len(self._deltas) < DELTAS_READY:
                self._deltas[revision] = delta
        return self.snapshot if self._is_long(delta) else delta

    def subscribe(self) -> "Subscription":
        """An async iterator: the snapshot first, then updates for ever. It holds nothing, so nothing closes it."""
        return Subscription(self)

    async def wait_for(self, predicate: Callable[[Snapshot], bool]) -> Snapshot:
        """The first snapshot that satisfies `predicate`, now or later; every change is looked at unless overtaken."""
        while not predicate(snapshot := self.snapshot):
            await self.wait_past(snapshot.revision)
        await trio.lowlevel.checkpoint()
        return snapshot

    async def wait_past(self, revision: int) -> None:
        """Returns once the board's revision is above `revision`, without the pacing of `subscribe`."""
        while self._revision <= revision:
            await self._waiting.park()

    # ------------------------------------------------------------ writing

    def put_parts(self, *parts: PartView) -> None:
        self._put(self._parts, ((part.name, part) for part in parts))

    def put_services(self, *services: ServiceView) -> None:
        self._put(self._services, ((service.name, service) for service in services))

    def put_instances(self, *instances: InstanceView) -> None:
        before = self._instances.rows
        was = [(before.get(instance.id), instance) for instance in instances]
        figures = all(old is not None and _says_the_same(old, new) for old, new in was)
        self._put(self._instances, ((instance.id, instance) for instance in instances), urgent=not figures)
        used = self._usage.rows
        ended = (one.id for one, (old, _) in zip(instances, was, strict=True) if old and old.pid and not one.pid)
        self._put(self._usage, ((id, Usage(id, 0.0, 0)) for id in ended if id in used))
        for old, new in was:
            service = self._services.rows.get(new.service)
            if old != new and not (service is not None and service.kind == "external"):
                self.tally.moved(old, new, self._time)

    def put_usage(self, usages: Iterable[Usage]) -> None:
        """Usage of known instances; the rest is ignored. It goes when its instance goes.

        So is that of one that runs no more: the walk that saw it may have begun before its end.
        """
        known = self._instances.rows
        running = ((one.id, one) for one in usages if one.id in known and known[one.id].pid)
        self._put(self._usage, running, urgent=False)

    def drop_instances(self, *ids: str) -> None:
        known = [id for id in dict.fromkeys(ids) if id in self._instances.rows]
        if known:
            revision = self._begin()
            for id in known:
                self._instances.drop(id, revision)
                self.tally.dropped(id)
                if id in self._usage.rows:
                    self._usage.drop(id, revision)
            self._announce()

    def drop_services(self, *names: str) -> None:
        """Forgets services. Their instances are rows of their own: drop those as well."""
        known = [name for name in dict.fromkeys(names) if name in self._services.rows]
        if known:
            revision = self._begin()
            for name in known:
                self._services.drop(name, revision)
            self._announce()

    def set_phase(self, phase: str) -> None:
        """`starting`, `running` or `stopping`."""
        if phase != self._phase:
            self._phase_revision = self._begin()
            self._phase = phase
            self._announce()

    def set_registry(self, address: str) -> None:
        """Where the registry listens, `host:port`. Shown by snapshots only."""
        if address != self._registry:
            self._begin()
            self._registry = address
            self._announce()

    def event(self, kind: str, message: str, level: str = "info", *, service: str = "", instance: str = "") -> Event:
        """Records something worth telling, with the next number and the time. `message` is cut at 2,000 characters."""
        revision = self._begin()
        self._event_number += 1
        event = Event(self._event_number, self._time, kind, message[:MESSAGE_LIMIT], level, service, instance)
        self._events.append((revision, event))
        self._announce()
        return event

    # ------------------------------------------------------------ inside

    def _put(self, table: _Table[Row], rows: Iterable[tuple[str, Row]], *, urgent: bool = True) -> None:
        known = table.rows
        changed = [(key, row) for key, row in rows if known.get(key) != row]
        if changed:
            revision = self._begin()
            for key, row in changed:
                table.put(key, row, revision)
            self._announce(urgent=urgent)

    def _begin(self) -> int:
        self._revision += 1
        self._time = self._clock()
        self._snapshot = None
        self._deltas.clear()
        return self._revision

    def _announce(self, *, urgent: bool = True) -> None:
        if urgent:
            self._urgent = self._revision
            self._hurried.unpark_all()
        if self._waiting:
            self._waiting.unpark_all()

    def _tables_reach(self, revision: int) -> bool:
        forgotten = max(self._instances.forgotten, self._services.forgotten, self._usage.forgotten)
        return forgotten <= revision < self._revision and revision >= 0

    def _make_delta(self, revision: int) -> Delta:
        events: list[Event] = []
        for at, event in reversed(self._events):
            if at <= revision or len(events) > EVENTS_SHOWN:
                break
            events.append(event)
        return Delta(
            revision=self._revision,
            since=revision,
            time=self._time,
            phase=self._phase if self._phase_revision > revision else "",
            parts=self._parts.since(revision),
            services=self._services.since(revision),
            instances=self._instances.since(revision),
            usage=self._usage.since(revision),
            events=tuple(reversed(events)),
            gone_services=self._services.gone_since(revision),
            gone_instances=self._instances.gone_since(revision),
        )

    def _is_long(self, delta: Delta) -> bool:
        """Whether events were missed, or more was removed than a snapshot would carry."""
        return len(delta.events) > EVENTS_SHOWN or len(delta.gone_instances) > EVENTS_SHOWN

    async def _wait_round(self, seen: int) -> None:
        """Returns when a reader that has seen `seen` is due for more.

        The first reader that finds the interval over opens a round for all: those that are still behind the round's
        revision go at once, so that readers that keep up stay together and share their deltas.
        """
        while True:
            await self.wait_past(seen)
            now = trio.current_time()
            if self._published <= seen:
                urgent = self._urgent > self._published
                due = self._due if urgent else max(self._due, self._figures_due)
                if now < due:
                    with trio.move_on_at(due):
                        if urgent:
                            await trio.sleep_forever()
                        await self._hurried.park()
                    continue
                self._published = self._revision
                self._figures_due = now + FIGURES_INTERVAL_S
                if urgent:
                    self._due = now + UPDATE_INTERVAL_S
            return


class Subscription:
    """One reader's place: what it has seen. Iterate with `async for`; stop whenever you like."""

    def __init__(self, board: StateStore) -> None:
        self._board = board
        self._seen = -1

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Update:
        if self._seen < 0:
            await trio.lowlevel.checkpoint()
            update: Update | None = self._board.snapshot
        else:
            await self._board._wait_round(self._seen)
            update = self._board.update_since(self._seen)
        assert update is not None
        self._seen = update.revision
        return update


def _says_the_same(old: InstanceView, new: InstanceView) -> bool:
    """Whether the two differ in what the last check said at most, and when."""
    return old == msgspec.structs.replace(new, checked=old.checked, output=old.output)


def _newer(revisions: dict[str, int], revision: int) -> Iterator[str]:
    """Keys with a revision above the given one, newest first; `revisions` is in the order of its values."""
    for key, at in reversed(revisions.items()):
        if at <= revision:
            return
        yield key
