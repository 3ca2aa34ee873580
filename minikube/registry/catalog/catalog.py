"""All that is known, in revision order: instances, names, the change log, and who is told (floor 3, pure).

One way in: entries of the change log, ours and others', applied strictly by revision (`offer`), or a whole snapshot
of the store (`adopt`). Everything else reads. No clock, no I/O, no trio: a subscriber is a plain callable that must
not block, must not raise and must not change the catalog.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from minikube.model import Change, ChangeKind, CheckState, Instance
from minikube.registry.catalog.change_log import LOG_LENGTH, ChangeLog
from minikube.registry.catalog.listing import Listing
from minikube.registry.catalog.records import Entry, Epoch, Record, address_field, size_of

EVERY_NAME = "*"

Sink = Callable[[Change], None]
_encode = msgspec.json.Encoder().encode


class Compacted(Exception):
    """The log no longer reaches back to the revision asked for (or never reached it): start from a snapshot."""


class Snapshot(Struct, frozen=True):
    """All of the store at one moment. `log` holds the latest entries, oldest first, back to but without `floor`."""

    epoch: Epoch
    revision: int
    nonce: str
    records: tuple[Record, ...]
    log: tuple[Entry, ...]
    floor: int


class Observation(Struct, frozen=True):
    """The last probe of this node: newer than what the log tells, which speaks of changes only."""

    checked: float
    output: str


class Turns(dict[bytes, Iterator[bytes]]):
    """For each name the replies to `Get`, encoded once, in turn and without end; KeyError where there is none.

    An iterator is made when it is first asked for after a change. It begins one further along than the one before, so that a
    name that keeps changing does not always send to the same instance.
    """

    def __init__(self) -> None:
        super().__init__()
        self._replies: dict[bytes, dict[str, bytes]] = {}
        self._made = 0

    def put(self, name: str, id_: str, reply: bytes | None) -> None:
        """Set an instance's reply; None: it has none (any more)."""
        key = name.encode()
        self.pop(key, None)
        replies = self._replies.setdefault(key, {})
        if reply is None:
            replies.pop(id_, None)
        else:
            replies[id_] = reply
        if not replies:
            del self._replies[key]

    def __missing__(self, name: bytes) -> Iterator[bytes]:
        replies = [*self._replies[name].values()]
        first = self._made % len(replies)
        self._made += 1
        turn = self[name] = cycle(replies[first:] + replies[:first])
        return turn


class Catalog:
    """The registry's memory. `revision` is the last one applied, `nonce` the mark that proves it is this history's."""

    def __init__(self) -> None:
        self.epoch = Epoch()
        self.revision = 0
        self.nonce = ""
        self.floor = 0
        self.records: dict[str, Record] = {}
        self.by_name: dict[str, dict[str, Record]] = {}
        self.addresses: dict[str, str] = {}
        self.log = ChangeLog()
        self._name_revisions: dict[str, int] = {}
        self.turns = Turns()
        self._ahead: dict[int, Entry] = {}
        self._observed: dict[str, Observation] = {}
        self._sinks: dict[str, dict[int, Sink]] = {}
        self._next_sink = 0
        self._listing = Listing(self._members, lambda id_: self.view(self.records[id_]))
        self.size = 0
        """Of all records as JSON, in bytes."""
        self._sizes: dict[str, int] = {}

    # ------------------------------------------------------------ reading

    def get(self, name: str) -> bytes | None:
        """One passing instance's `{"IP","Port","Zone"}`, encoded, round robin; None where there is none."""
        try:
            return next(self.turns[name.encode()])
        except KeyError:
            return None

    def view(self, record: Record) -> Instance:
        """The instance with what this node's last probe said."""
        seen = self._observed.get(record.id)
        if seen is None or seen.checked < record.instance.checked:
            return record.instance
        return replace(record.instance, checked=seen.checked, output=seen.output)

    def instances(self, name: str = EVERY_NAME) -> list[Instance]:
        """Every instance of a name, or all, in the order of their registration."""
        return [self.view(self.records[id_]) for id_ in self._listing.order(name)]

    def instances_json(self, name: str = EVERY_NAME) -> bytes:
        """The same, encoded."""
        return self._listing.json(name)

    def _members(self, name: str) -> Iterable[str]:
        return self.records if name == EVERY_NAME else self.by_name.get(name, {})

    def services(self) -> dict[str, dict[str, int]]:
        """Names with their counts by state."""
        counts: dict[str, dict[str, int]] = {}
        for name in sorted(self.by_name):
            counts[name] = dict.fromkeys((state.value for state in CheckState), 0)
            for record in self.by_name[name].values():
                counts[name][record.instance.state.value] += 1
        return counts

    def name_revision(self, name: str) -> int:
        """The revision of the last change that touched `name`, as far back as is known."""
        if name == EVERY_NAME:
            return self.revision
        return max(self._name_revisions.get(name, 0), self.floor)

    def since(self, name: str, revision: int) -> list[Change]:
        """Every change of `name` after `revision`, in order. Raises Compacted where that cannot be known."""
        if not self.floor <= revision <= self.revision:
            raise Compacted
        return [
            _change(entry)
            for entry in self.log
            if entry.revision > revision and name in (EVERY_NAME, entry.record.instance.name)
        ]

    def tombs(self) -> list[Entry]:
        """The removals still in the log of ids that did not come back."""
        return [entry for entry in self.log if entry.kind is ChangeKind.GONE and entry.record.id not in self.records]

    # ------------------------------------------------------------ who is told

    def subscribe(self, name: str, sink: Sink) -> Callable[[], None]:
        """Tell `sink` every change of `name` (or `*`) from now on, once and in order; returns what ends it."""
        key = self._next_sink
        self._next_sink += 1
        self._sinks.setdefault(name, {})[key] = sink

        def unsubscribe() -> None:
            sinks = self._sinks.get(name, {})
            sinks.pop(key, None)
            if not sinks:
                self._sinks.pop(name, None)

        return unsubscribe

    # ------------------------------------------------------------ changing

    def offer(self, entry: Entry) -> None:
        """Take one entry of the log; early ones wait for those before them, known ones are dropped."""
        if entry.revision <= self.revision:
            return
        self._ahead[entry.revision] = entry
        while (following := self._ahead.pop(self.revision + 1, None)) is not None:
            self._apply(following)

    @property
    def behind(self) -> bool:
        """Whether entries wait for earlier ones that did not come."""
        return bool(self._ahead)

    def adopt(self, snapshot: Snapshot) -> None:
        """Become what the store says. Subscribers are told every difference, and their log goes on where it can."""
        first = not self.epoch
        same_line = snapshot.epoch == self.epoch
        self.epoch = snapshot.epoch
        if first:
            self._load(snapshot)
            return
        if same_line and snapshot.floor <= self.revision:
            for entry in snapshot.log:
                self.offer(entry)
        if self.revision != snapshot.revision or any(
            (known := self.records.get(record.id)) is None or known.revision != record.revision
            for record in snapshot.records
        ):
            self._become(snapshot)
        self.revision, self.nonce = snapshot.revision, snapshot.nonce
        self._ahead = {number: entry for number, entry in self._ahead.items() if number > self.revision}

    def observe(self, id_: str, checked: float, output: str) -> None:
        """Note the last probe of an instance; no change, nobody is told."""
        if id_ in self.records:
            self._observed[id_] = Observation(checked, output)
            self._listing.changed(id_)

    def _load(self, snapshot: Snapshot) -> None:
        for record in snapshot.records:
            self._put(record)
        self.floor = max(snapshot.floor, self.log.extend(snapshot.log))
        for entry in snapshot.log:
            name = entry.record.instance.name
            self._name_revisions[name] = max(entry.revision, self._name_revisions.get(name, 0))
        self.revision, self.nonce = snapshot.revision, snapshot.nonce

    def _become(self, snapshot: Snapshot) -> None:
        """Tell the differences as entries. A removal learned late has lost its own number: it gets a free one."""
        wanted = {record.id: record for record in snapshot.records}
        gone = [record for id_, record in self.records.items() if id_ not in wanted]
        changed = [
            record
            for id_, record in wanted.items()
            if (old := self.records.get(id_)) is None or old.revision != record.revision
        ]
        if not gone and not changed:
            return
        used = {record.revision for record in changed if record.revision > self.revision}
        entries = [Entry(record.revision, ChangeKind.PUT, record) for record in changed if record.revision in used]
        number = self.revision
        for kind, record in [(ChangeKind.GONE, record) for record in gone] + [
            (ChangeKind.PUT, record) for record in changed if record.revision not in used
        ]:
            number += 1
            while number in used:
                number += 1
            entries.append(Entry(number, kind, record))
        for entry in sorted(entries, key=lambda entry: entry.revision):
            self._apply(entry)
        self.log.clear()
        self.floor = max(snapshot.revision, self.revision)

    def _apply(self, entry: Entry) -> None:
        record = entry.record
        name = record.instance.name
        if entry.kind is ChangeKind.PUT:
            self._put(record)
        else:
            self._remove(record.id)
        self.revision, self.nonce = entry.revision, entry.nonce
        self._name_revisions[name] = entry.revision
        if dropped := self.log.append(entry):
            self.floor = dropped
            self._forget_old_names()
        change = _change(entry)
        for key in (name, EVERY_NAME):
            for sink in tuple(self._sinks.get(key, {}).values()):
                sink(change)

    def _forget_old_names(self) -> None:
        """A name older than the floor has the floor's revision anyway; keep the table as small as the log."""
        if len(self._name_revisions) > 2 * LOG_LENGTH + len(self.by_name):
            self._name_revisions = {name: at for name, at in self._name_revisions.items() if at > self.floor}

    def _put(self, record: Record) -> None:
        old = self.records.get(record.id)
        if old is not None and address_field(old) != address_field(record):
            self._remove(record.id)
        elif old is not None and old.instance.incarnation != record.instance.incarnation:
            self._observed.pop(record.id, None)
        instance = record.instance
        self._listing.changed(record.id)
        if record.id not in self.records or self.records[record.id].instance.registered != instance.registered:
            self._listing.moved()
        self.records[record.id] = record
        size = size_of(record)
        self.size += size - self._sizes.get(record.id, 0)
        self._sizes[record.id] = size
        self.by_name.setdefault(instance.name, {})[record.id] = record
        self.addresses[address_field(record)] = record.id
        reply = _encode(instance.addr) if record.discoverable else None
        self.turns.put(instance.name, record.id, reply)
        self._name_revisions[instance.name] = max(record.revision, self._name_revisions.get(instance.name, 0))

    def _remove(self, id_: str) -> None:
        old = self.records.pop(id_, None)
        if old is None:
            return
        name = old.instance.name
        self.size -= self._sizes.pop(id_)
        self._observed.pop(id_, None)
        self._listing.changed(id_)
        self._listing.moved()
        del self.by_name[name][id_]
        self.turns.put(name, id_, None)
        if not self.by_name[name]:
            del self.by_name[name]
        if self.addresses.get(address_field(old)) == id_:
            del self.addresses[address_field(old)]


def _change(entry: Entry) -> Change:
    return Change(entry.revision, entry.kind, entry.record.instance)
