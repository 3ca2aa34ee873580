"""The catalog: all known instances in revision order, and the subscribers to their changes. Pure.

Changes come in one way only: entries of the change log, applied strictly by revision (`apply`), or a whole snapshot of
Redis (`apply_snapshot`). Both notify the subscribers. A subscriber is a plain callable that must not block, must not
raise and must not change the catalog.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from minikube.model import Change, ChangeKind, CheckState, Instance
from minikube.registry.catalog.change_log import MAX_ENTRIES, ChangeLog
from minikube.registry.catalog.listing import JsonListing
from minikube.registry.catalog.owner_usage import OwnerUsage
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot, json_size
from minikube.registry.catalog.round_robin import RoundRobinReplies

ALL_NAMES = "*"

Subscriber = Callable[[Change], None]
_encode = msgspec.json.Encoder().encode


class Compacted(Exception):
    """The change log does not reach back to the revision asked for: the caller must start from a snapshot."""


class LastProbe(Struct, frozen=True):
    """The last check result of an instance at this node. A record changes only with the state, so it may be older."""

    checked: float
    output: str


class Catalog:
    """Holds all records by id, name and address, with the latest changes. Answers lookups and notifies subscribers."""

    def __init__(self) -> None:
        self.epoch = Epoch()
        self.revision = 0
        """The revision of the last change applied."""
        self.nonce = ""
        """The nonce of that change: proof that a store with the same revision has the same history."""
        self.compacted = 0
        """Changes up to this revision are not known any more."""
        self.records: dict[str, Record] = {}
        self.by_name: dict[str, dict[str, Record]] = {}
        self.ids_by_address: dict[str, str] = {}
        self.log = ChangeLog()
        self.replies = RoundRobinReplies()
        self._sizes: dict[str, int] = {}
        self._name_revisions: dict[str, int] = {}
        self._early: dict[int, Entry] = {}
        self._last_probes: dict[str, LastProbe] = {}
        self._subscribers: dict[str, dict[int, Subscriber]] = {}
        self._next_subscriber = 0
        self._listing = JsonListing(self._ids, lambda id_: self.instance(self.records[id_]))
        self._listing_without_output = JsonListing(self._ids, lambda id_: without_output(self.records[id_].instance))
        self.usage = OwnerUsage()

    # ------------------------------------------------------------ reading

    def next_reply(self, name: str) -> bytes | None:
        """Return the address of the next passing instance as JSON (`{"IP","Port","Zone"}`), None if there is none."""
        try:
            return next(self.replies[name.encode()])
        except KeyError:
            return None

    def find_name(self, id_: str) -> str | None:
        """Return the name of the instance with this id, None if there is none."""
        record = self.records.get(id_)
        return None if record is None else record.instance.name

    def instance(self, record: Record) -> Instance:
        """Return the record's instance with the output and time of this node's last check."""
        probe = self._last_probes.get(record.id)
        if probe is None or probe.checked < record.instance.checked:
            return record.instance
        return replace(record.instance, checked=probe.checked, output=probe.output)

    def instances_json(self, name: str = ALL_NAMES, *, with_output: bool = True) -> bytes:
        """Return the instances of a name, or all, as a JSON list in the order of name and registration."""
        return (self._listing if with_output else self._listing_without_output).json(name)

    def _ids(self, name: str) -> Iterable[str]:
        return self.records if name == ALL_NAMES else self.by_name.get(name, {})

    def services(self) -> dict[str, dict[str, int]]:
        """Return the names of all services, each with its number of instances by check state."""
        counts: dict[str, dict[str, int]] = {}
        for name in sorted(self.by_name):
            counts[name] = dict.fromkeys((state.value for state in CheckState), 0)
            for record in self.by_name[name].values():
                counts[name][record.instance.state.value] += 1
        return counts

    def name_revision(self, name: str) -> int:
        """Return the revision of the last change of `name`; `compacted` if its last change is not known any more."""
        if name == ALL_NAMES:
            return self.revision
        return max(self._name_revisions.get(name, 0), self.compacted)

    def changes_since(self, name: str, revision: int) -> list[Change]:
        """Return every change of `name` after `revision`, in order. Raises Compacted where some are not known."""
        if not self.compacted <= revision <= self.revision:
            raise Compacted
        return [
            _change(entry)
            for entry in self.log
            if entry.revision > revision and name in (ALL_NAMES, entry.record.instance.name)
        ]

    def tombstones(self) -> list[Entry]:
        """Return the logged removals of ids that are not registered again."""
        return [entry for entry in self.log if entry.kind is ChangeKind.GONE and entry.record.id not in self.records]

    @property
    def has_gap(self) -> bool:
        """Whether entries wait for earlier ones that have not arrived."""
        return bool(self._early)

    # ------------------------------------------------------------ subscribers

    def subscribe(self, name: str, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every later change of `name` (or `*`), once and in order; return the unsubscribe function."""
        key = self._next_subscriber
        self._next_subscriber += 1
        self._subscribers.setdefault(name, {})[key] = subscriber

        def unsubscribe() -> None:
            subscribers = self._subscribers.get(name, {})
            subscribers.pop(key, None)
            if not subscribers:
                self._subscribers.pop(name, None)

        return unsubscribe

    # ------------------------------------------------------------ changing

    def apply(self, entry: Entry) -> None:
        """Apply one entry of the change log. Early entries wait for those before them; known ones are dropped."""
        # Both the writer and the follower hand over this node's own writes: the second one is dropped here.
        if entry.revision <= self.revision:
            return
        self._early[entry.revision] = entry
        while (following := self._early.pop(self.revision + 1, None)) is not None:
            self._apply(following)

    def apply_snapshot(self, snapshot: StoreSnapshot) -> None:
        """Replace the catalog's content by the snapshot, and notify subscribers of every difference.

        An older snapshot of the catalog's own epoch changes nothing.
        """
        # The first snapshot is no change: subscribers know nothing yet.
        is_first = not self.epoch
        is_same_epoch = snapshot.epoch == self.epoch
        if is_same_epoch and not is_first and snapshot.revision < self.revision:
            return  # changes that followed it arrived while it was read
        self.epoch = snapshot.epoch
        if is_first:
            self._load(snapshot)
            return
        if is_same_epoch and snapshot.compacted <= self.revision:
            for entry in snapshot.log:
                self.apply(entry)
        if self.revision != snapshot.revision or any(
            (known := self.records.get(record.id)) is None or known.revision != record.revision
            for record in snapshot.records
        ):
            self._apply_differences(snapshot)
        self.revision, self.nonce = snapshot.revision, snapshot.nonce
        self._early = {number: entry for number, entry in self._early.items() if number > self.revision}

    def record_probe(self, id_: str, checked: float, output: str) -> None:
        """Store `output` as the instance's last check result. Subscribers are not notified, as it is no change of a record."""
        if id_ in self.records:
            self._last_probes[id_] = LastProbe(checked, output)
            self._listing.invalidate(id_)  # lists without output do not show the last probe

    def _load(self, snapshot: StoreSnapshot) -> None:
        for record in snapshot.records:
            self._put(record)
        self.compacted = max(snapshot.compacted, self.log.extend(snapshot.log))
        for entry in snapshot.log:
            name = entry.record.instance.name
            self._name_revisions[name] = max(entry.revision, self._name_revisions.get(name, 0))
        self.revision, self.nonce = snapshot.revision, snapshot.nonce

    def _apply_differences(self, snapshot: StoreSnapshot) -> None:
        """Apply the differences to the snapshot as entries, and start the change log anew after them."""
        stored = {record.id: record for record in snapshot.records}
        removed = [record for id_, record in self.records.items() if id_ not in stored]
        changed = [
            record
            for id_, record in stored.items()
            if (old := self.records.get(id_)) is None or old.revision != record.revision
        ]
        if not removed and not changed:
            return
        used = {record.revision for record in changed if record.revision > self.revision}
        entries = [Entry(record.revision, ChangeKind.PUT, record) for record in changed if record.revision in used]
        # A removal's own revision is not in the snapshot, and an older change comes after what subscribers have seen:
        # both get revisions that no other entry uses.
        number = self.revision
        for kind, record in [(ChangeKind.GONE, record) for record in removed] + [
            (ChangeKind.PUT, record) for record in changed if record.revision not in used
        ]:
            number += 1
            while number in used:
                number += 1
            entries.append(Entry(number, kind, record))
        for entry in sorted(entries, key=lambda entry: entry.revision):
            self._apply(entry)
        self.log.clear()
        self.compacted = max(snapshot.revision, self.revision)

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
            self.compacted = dropped
            self._drop_old_name_revisions()
        change = _change(entry)
        for key in (name, ALL_NAMES):
            # A copy: a subscriber may unsubscribe while it is called.
            for subscriber in tuple(self._subscribers.get(key, {}).values()):
                subscriber(change)

    def _drop_old_name_revisions(self) -> None:
        """Drop the revisions of names whose last change is not in the change log any more."""
        if len(self._name_revisions) > 2 * MAX_ENTRIES + len(self.by_name):
            self._name_revisions = {name: at for name, at in self._name_revisions.items() if at > self.compacted}

    def _put(self, record: Record) -> None:
        old = self.records.get(record.id)
        if old is not None and old.address_key != record.address_key:
            self._remove(record.id)
        elif old is not None and old.instance.incarnation != record.instance.incarnation:
            self._last_probes.pop(record.id, None)
        instance = record.instance
        if record.id not in self.records or self.records[record.id].instance.registered != instance.registered:
            self._invalidate(record.id, with_orders=True)
        else:
            self._invalidate(record.id)
        if previous := self.records.get(record.id):
            self.usage.remove(previous.owner, self._sizes[record.id])
        self.records[record.id] = record
        size = json_size(record)
        self._sizes[record.id] = size
        self.usage.add(record.owner, size)
        self.by_name.setdefault(instance.name, {})[record.id] = record
        self.ids_by_address[record.address_key] = record.id
        self.replies.set(instance.name, record.id, _encode(instance.addr) if record.is_discoverable else None)
        self._name_revisions[instance.name] = max(record.revision, self._name_revisions.get(instance.name, 0))

    def _remove(self, id_: str) -> None:
        old = self.records.pop(id_, None)
        if old is None:
            return
        name = old.instance.name
        self.usage.remove(old.owner, self._sizes.pop(id_))
        self._last_probes.pop(id_, None)
        self._invalidate(id_, with_orders=True)
        del self.by_name[name][id_]
        self.replies.set(name, id_, None)
        if not self.by_name[name]:
            del self.by_name[name]
        if self.ids_by_address.get(old.address_key) == id_:
            del self.ids_by_address[old.address_key]

    def _invalidate(self, id_: str, *, with_orders: bool = False) -> None:
        """Drop the cached JSON of an instance, and with `with_orders` the cached orders of all lists."""
        for listing in (self._listing, self._listing_without_output):
            listing.invalidate(id_)
            if with_orders:
                listing.invalidate_orders()


def without_output(instance: Instance) -> Instance:
    """Return the instance as callers without the right to read outputs see it."""
    return replace(instance, output="") if instance.output else instance


def _change(entry: Entry) -> Change:
    return Change(entry.revision, entry.kind, entry.record.instance)
