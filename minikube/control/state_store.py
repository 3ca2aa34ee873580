"""The state store: one immutable, versioned snapshot of the project, and the updates that its subscribers get.

The supervisor's tasks change rows with synchronous methods. The command line, the control API, the stream and the dashboard
only ever see a `Snapshot` and `Delta`s. Rows are merged by id or name, and each change makes a new revision.

A subscriber costs one integer, the revision that it has seen: what it missed is worked out when it asks for the next update. So
a slow subscriber gets fewer and larger updates, or a fresh snapshot, and no queue grows for it. Subscribers that keep up move
from one revision to the same next one, so they share one `Delta` object, which `stream` encodes once.

It refuses to decide anything about services, to do I/O, and to be called from another thread than trio's.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec
import trio

from minikube.clock import LEAST_SHIFT_S
from minikube.control.client.snapshot import EVENTS_SHOWN
from minikube.control.instance_counters import InstanceCounters
from minikube.control.rows.clock_shift import shift_instance, shift_part
from minikube.control.rows.table import Row, Table
from minikube.model import Delta, Event, InstanceView, PartView, ServiceView, Snapshot, Usage

UPDATE_INTERVAL_S = 0.05
"""Least time between two rounds of updates. The first change after a pause is sent at once, later ones with the next round. In
the middle of a storm of changes, an exit is still shown within 100 ms."""

MINOR_UPDATE_INTERVAL_S = 0.5
"""Least time between two rounds of minor changes only: usage, and checks with the same result again. With a hundred instances
there is always one. They delay nothing: any other change takes them along at once."""

EVENTS_KEPT = 10_000
MESSAGE_LIMIT = 2_000
DELTAS_KEPT = 16
"""Number of deltas to the current revision that are kept for subscribers that come from the same revision."""

Update = Snapshot | Delta


class StateStore:
    """Holds the project's state as one versioned snapshot. All methods except `wait_…` are synchronous and cheap.

    `clock` returns Unix seconds. Putting a row that equals the present one changes nothing and makes no revision.
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
        self.events_followed = trio.Event()
        """Set when a client follows the events."""
        self.counters = InstanceCounters()
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
        self._clock_shift = 0.0
        self._parts: Table[PartView] = Table()
        self._services: Table[ServiceView] = Table()
        self._instances: Table[InstanceView] = Table()
        self._usage: Table[Usage] = Table()
        self._events: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT)
        """Each event with the revision that it made."""
        self._last_event = 0
        self._snapshot: Snapshot | None = None
        self._deltas: dict[int, Delta] = {}
        self._change_waiters = trio.lowlevel.ParkingLot()
        self._major_change_waiters = trio.lowlevel.ParkingLot()
        self._major_revision = 0
        """Revision of the latest change that is not a minor one."""
        self._round_revision = 0
        """Revision of the latest round of updates."""
        self._next_round = self._next_minor_round = float("-inf")

    # ------------------------------------------------------------ reading

    @property
    def revision(self) -> int:
        """Number of the latest change; only grows."""
        return self._revision

    @property
    def snapshot(self) -> Snapshot:
        """The current state. The same object is returned until the next change."""
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
        """Return the row of the instance with this id, or None."""
        return self._instances.rows.get(id)

    def service(self, name: str) -> ServiceView | None:
        """Return the row of the service with this name, or None."""
        return self._services.rows.get(name)

    def events_since(self, number: int, limit: int = EVENTS_KEPT) -> list[Event]:
        """Return the oldest `limit` events with a number above `number`, of the latest 10,000 events."""
        if not self._events:
            return []
        first = self._events[0][1].number
        start = max(0, number + 1 - first)
        return [event for _, event in islice(self._events, start, start + limit)]

    def update_since(self, revision: int) -> Update | None:
        """Return the delta from `revision` to the current state, a snapshot if that is shorter, or None if nothing changed."""
        if revision == self._revision:
            return None
        if not self._can_make_delta(revision):
            return self.snapshot
        delta = self._deltas.get(revision)
        if delta is None:
            delta = self._make_delta(revision)
            if len(self._deltas) < DELTAS_KEPT:
                self._deltas[revision] = delta
        return self.snapshot if self._is_too_long(delta) else delta

    def subscribe(self) -> "Subscription":
        """Return an async iterator over the snapshot, then its updates. It never ends and need not be closed."""
        return Subscription(self)

    async def wait_for(self, predicate: Callable[[Snapshot], bool]) -> Snapshot:
        """Wait for a snapshot that satisfies `predicate`, and return it. Snapshots may be skipped if they change fast."""
        while not predicate(snapshot := self.snapshot):
            await self.wait_past(snapshot.revision)
        await trio.lowlevel.checkpoint()
        return snapshot

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate` holds; it is called after changes. Unlike `wait_for`, it makes no snapshots."""
        while not predicate():
            await self.wait_past(self._revision)
        await trio.lowlevel.checkpoint()

    async def wait_past(self, revision: int) -> None:
        """Wait until the store's revision is above `revision`. Unlike `subscribe`, it returns at once after each change."""
        while self._revision <= revision:
            await self._change_waiters.park()

    # ------------------------------------------------------------ writing

    def put_parts(self, *parts: PartView) -> None:
        """Add or replace the rows of Redis and the registry."""
        by = self._clock_shift
        self._put(self._parts, ((part.name, shift_part(part, by) if by else part) for part in parts))

    def put_services(self, *services: ServiceView) -> None:
        """Add or replace rows of services."""
        self._put(self._services, ((service.name, service) for service in services))

    def put_instances(self, *instances: InstanceView) -> None:
        """Add or replace rows of instances. The usage of an instance that exited becomes zero."""
        if self._clock_shift:
            instances = tuple(self._shifted(instance, self._clock_shift) for instance in instances)
        known = self._instances.rows
        changes = [(known.get(instance.id), instance) for instance in instances]
        is_minor = all(old is not None and _differ_in_check_only(old, new) for old, new in changes)
        self._put(self._instances, ((instance.id, instance) for instance in instances), is_minor=is_minor)
        with_usage = self._usage.rows
        exited = (new.id for old, new in changes if old and old.pid and not new.pid)
        self._put(self._usage, ((id, Usage(id, 0.0, 0)) for id in exited if id in with_usage))
        for old, new in changes:
            service = self._services.rows.get(new.service)
            if old != new and not (service is not None and service.kind == "external"):
                self.counters.on_row_changed(old, new, self._time)

    def set_clock_shift(self, shift: float) -> bool:
        """Show points in time by a wall clock that was set `shift` seconds forward; return whether that is news.

        Rows that are put have points in time of `minikube.clock.steady_time`.
        """
        by = shift - self._clock_shift
        if abs(by) < LEAST_SHIFT_S:
            return False
        self._clock_shift = shift
        self._started += by
        self.counters.shift(by)
        self._put(self._parts, [(name, shift_part(part, by)) for name, part in self._parts.rows.items()])
        self._put(self._instances, [(id, self._shifted(row, by)) for id, row in self._instances.rows.items()])
        return True

    def _shifted(self, row: InstanceView, by: float) -> InstanceView:
        """Return the row with its points in time `by` seconds later; unchanged if they are by the registry's wall clock."""
        service = self._services.rows.get(row.service)
        return row if service is not None and service.kind == "external" else shift_instance(row, by)

    def put_usage(self, usages: Iterable[Usage]) -> None:
        """Add or replace the resource usage of running instances; ignore other instances. It is dropped with the instance's row."""
        known = self._instances.rows
        # The measurement may have begun before an instance exited, hence the check of the pid.
        running = ((usage.id, usage) for usage in usages if usage.id in known and known[usage.id].pid)
        self._put(self._usage, running, is_minor=True)

    def drop_instances(self, *ids: str) -> None:
        """Drop rows of instances, with their usage."""
        known = [id for id in dict.fromkeys(ids) if id in self._instances.rows]
        if known:
            revision = self._start_revision()
            for id in known:
                self._instances.drop(id, revision)
                self.counters.on_row_dropped(id)
                if id in self._usage.rows:
                    self._usage.drop(id, revision)
            self._wake_waiters()

    def drop_services(self, *names: str) -> None:
        """Drop rows of services. Rows of their instances must be dropped separately."""
        known = [name for name in dict.fromkeys(names) if name in self._services.rows]
        if known:
            revision = self._start_revision()
            for name in known:
                self._services.drop(name, revision)
            self._wake_waiters()

    def set_phase(self, phase: str) -> None:
        """Set the project's phase: `starting`, `running` or `stopping`."""
        if phase != self._phase:
            self._phase_revision = self._start_revision()
            self._phase = phase
            self._wake_waiters()

    def set_registry(self, address: str) -> None:
        """Set the registry's address, `host:port`. It is in snapshots only, not in deltas."""
        if address != self._registry:
            self._start_revision()
            self._registry = address
            self._wake_waiters()

    def set_manifest(self, path: str) -> None:
        """Set the path of the manifest. It is in snapshots only, not in deltas."""
        if path != self._manifest:
            self._start_revision()
            self._manifest = path
            self._wake_waiters()

    def event(self, kind: str, message: str, level: str = "info", *, service: str = "", instance: str = "") -> Event:
        """Add an event with the next number and the current time, and return it. `message` is cut at 2,000 characters."""
        revision = self._start_revision()
        self._last_event += 1
        event = Event(self._last_event, self._time, kind, message[:MESSAGE_LIMIT], level, service, instance)
        self._events.append((revision, event))
        self._wake_waiters()
        return event

    # ------------------------------------------------------------ inside

    def _put(self, table: Table[Row], rows: Iterable[tuple[str, Row]], *, is_minor: bool = False) -> None:
        known = table.rows
        changed = [(key, row) for key, row in rows if known.get(key) != row]
        if changed:
            revision = self._start_revision()
            for key, row in changed:
                table.put(key, row, revision)
            self._wake_waiters(is_minor=is_minor)

    def _start_revision(self) -> int:
        """Begin a change, and return its revision. Drop the cached snapshot and deltas."""
        self._revision += 1
        self._time = self._clock()
        self._snapshot = None
        self._deltas.clear()
        return self._revision

    def _wake_waiters(self, *, is_minor: bool = False) -> None:
        """Wake the tasks that wait for a change. With `is_minor`, wake only those that wait for any revision."""
        if not is_minor:
            self._major_revision = self._revision
            self._major_change_waiters.unpark_all()
        if self._change_waiters:
            self._change_waiters.unpark_all()

    def _can_make_delta(self, revision: int) -> bool:
        """Whether a delta from `revision` is possible: all removals since then are known."""
        forgotten = max(
            self._instances.forgotten_revision, self._services.forgotten_revision, self._usage.forgotten_revision
        )
        # A revision above the store's own belongs to another supervisor.
        return forgotten <= revision < self._revision and revision >= 0

    def _make_delta(self, revision: int) -> Delta:
        """Return the changes since `revision`.

        A delta with more than `EVENTS_SHOWN` events is incomplete; subscribers get a snapshot instead (`_is_too_long`).
        """
        events: list[Event] = []
        for event_revision, event in reversed(self._events):
            if event_revision <= revision or len(events) > EVENTS_SHOWN:
                break
            events.append(event)
        return Delta(
            revision=self._revision,
            since=revision,
            time=self._time,
            phase=self._phase if self._phase_revision > revision else "",
            parts=self._parts.changed_since(revision),
            services=self._services.changed_since(revision),
            instances=self._instances.changed_since(revision),
            usage=self._usage.changed_since(revision),
            events=tuple(reversed(events)),
            gone_services=self._services.removed_since(revision),
            gone_instances=self._instances.removed_since(revision),
        )

    def _is_too_long(self, delta: Delta) -> bool:
        """Whether subscribers should get a snapshot instead: the delta lacks events, or has too many removals."""
        return len(delta.events) > EVENTS_SHOWN or len(delta.gone_instances) > EVENTS_SHOWN

    async def _wait_round(self, seen: int) -> None:
        """Wait for a change after revision `seen`, and for the minimum interval between updates of subscribers."""
        # The first subscriber that finds the interval over opens a round for all: those that have not seen the round's
        # revision go at once. So subscribers that keep up stay together and share their deltas.
        while True:
            await self.wait_past(seen)
            now = trio.current_time()
            if self._round_revision <= seen:
                is_major = self._major_revision > self._round_revision
                start = self._next_round if is_major else max(self._next_round, self._next_minor_round)
                if now < start:
                    with trio.move_on_at(start):
                        if is_major:
                            await trio.sleep_forever()
                        await self._major_change_waiters.park()
                    continue
                self._round_revision = self._revision
                self._next_minor_round = now + MINOR_UPDATE_INTERVAL_S
                if is_major:
                    self._next_round = now + UPDATE_INTERVAL_S
            return


class Subscription:
    """An async iterator over the updates of a store for one subscriber. The iteration may be stopped at any time."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._seen = -1

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Update:
        if self._seen < 0:
            await trio.lowlevel.checkpoint()
            update: Update | None = self._store.snapshot
        else:
            await self._store._wait_round(self._seen)
            update = self._store.update_since(self._seen)
        assert update is not None
        self._seen = update.revision
        return update


def _differ_in_check_only(old: InstanceView, new: InstanceView) -> bool:
    """Return whether the rows differ at most in the time and the output of the last check."""
    return old == msgspec.structs.replace(new, checked=old.checked, output=old.output)
