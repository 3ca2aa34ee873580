"""The catalog: revisions only grow, every subscriber gets every change once and in order, lookups are never wrong."""

import json
from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from minikube.model import Address, Change, ChangeKind, CheckState, Instance
from minikube.registry.catalog import change_log
from minikube.registry.catalog.catalog import ALL_NAMES, Catalog, Compacted
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot

FIRST = Epoch(1, "first", 0)
NAMES = ["order", "orders", "product"]
STATES = list(CheckState)


def record(id_: str, name: str = "product", state: CheckState = CheckState.PASSING, port: int = 80) -> Record:
    return Record(Instance(id_, name, Address("127.0.0.1", port), "ttl:", state))


def record_with_text(id_: str, port: int, length: int) -> Record:
    made = record(id_, port=port)
    return replace(made, instance=replace(made.instance, meta={"text": "x" * length}))


def stored(revision: int, made: Record) -> Record:
    """Return the record as Redis stores it at `revision`."""
    instance = replace(made.instance, revision=revision, incarnation=made.instance.incarnation or revision)
    return replace(made, instance=instance)


def loaded() -> Catalog:
    made = Catalog()
    made.apply_snapshot(StoreSnapshot(FIRST, 0, "", (), (), 0))
    return made


def listed(catalog: Catalog, name: str = ALL_NAMES) -> list[Instance]:
    return msgspec.json.decode(catalog.instances_json(name), type=list[Instance])


def put(catalog: Catalog, made: Record) -> Record:
    revision = catalog.revision + 1
    catalog.apply(Entry(revision, ChangeKind.PUT, stored(revision, made)))
    return catalog.records[made.id]


class Story(RuleBasedStateMachine):
    """A store writes changes; a catalog applies them, sometimes late, out of order, or by a snapshot only."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = loaded()
        self.stored: dict[str, Record] = {}
        self.history: list[Entry] = []
        self.revision = 0
        self.epoch = FIRST
        self.sent = 0
        """How many changes were given to the catalog."""
        self.seen: list[Change] = []
        self.shown: dict[str, Record] = {}
        self.catalog.subscribe(ALL_NAMES, self.on_change)

    def on_change(self, change: Change) -> None:
        if self.seen:
            assert change.revision > self.seen[-1].revision, "in order, none twice"
        self.seen.append(change)
        if change.kind is ChangeKind.PUT:
            self.shown[change.instance.uuid] = Record(change.instance)
        else:
            assert change.instance.uuid in self.shown, "only a known instance is removed"
            del self.shown[change.instance.uuid]

    @rule(id_=st.sampled_from("abcd"), name=st.sampled_from(NAMES), state=st.sampled_from(STATES))
    def write(self, id_: str, name: str, state: CheckState) -> None:
        self.revision += 1
        made = stored(self.revision, record(id_, name, state, ord(id_)))
        self.stored[id_] = made
        self.history.append(Entry(self.revision, ChangeKind.PUT, made, f"n{self.revision}"))

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.revision += 1
        removed = self.stored.pop(data.draw(st.sampled_from(sorted(self.stored))))
        self.history.append(Entry(self.revision, ChangeKind.GONE, removed, f"n{self.revision}"))

    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        """The next few entries arrive, in any order, some twice."""
        until = data.draw(st.integers(self.sent, min(len(self.history), self.sent + 4)))
        entries = data.draw(st.permutations(self.history[self.sent : until]))
        for entry in [*entries, *entries[:1]]:
            self.catalog.apply(entry)
        self.sent = until

    @rule(kept=st.integers(0, 6), leap=st.booleans())
    def apply_snapshot(self, kept: int, leap: bool) -> None:
        """The store is read anew: with the end of its log, or as a new epoch that another registry started."""
        if leap:
            self.revision += 1000
            self.epoch = Epoch(self.epoch.number + 1, f"e{self.epoch.number}", self.catalog.revision)
            kept = 0
        log = tuple(self.history[len(self.history) - kept :]) if kept else ()
        compacted = log[0].revision - 1 if log else self.revision
        nonce = log[-1].nonce if log else ""
        records = tuple(self.stored.values())
        self.catalog.apply_snapshot(StoreSnapshot(self.epoch, self.revision, nonce, records, log, compacted))
        self.sent = len(self.history)
        assert self.catalog.revision == self.revision

    @invariant()
    def subscribers_have_seen_what_the_catalog_knows(self) -> None:
        assert {id_: shown.instance for id_, shown in self.shown.items()} == {
            id_: known.instance for id_, known in self.catalog.records.items()
        }

    @invariant()
    def it_equals_the_store_at_the_same_revision(self) -> None:
        if self.catalog.revision == self.revision:
            assert self.catalog.records == self.stored
            assert not self.catalog.has_gap

    @invariant()
    def lookups_return_the_passing_instances_in_turn(self) -> None:
        for name in NAMES:
            passing = [
                known
                for known in self.catalog.records.values()
                if known.is_discoverable and known.instance.name == name
            ]
            replies = [self.catalog.next_reply(name) for _ in range(2 * len(passing))]
            ports = Counter(json.loads(reply)["Port"] for reply in replies if reply)
            assert ports == Counter({known.instance.addr.Port: 2 for known in passing})
            if not passing:
                assert self.catalog.next_reply(name) is None

    @invariant()
    def the_changes_since_a_known_revision_are_complete(self) -> None:
        for revision in {self.catalog.compacted, self.catalog.revision}:
            changes = self.catalog.changes_since(ALL_NAMES, revision)
            assert [change.revision for change in changes] == [
                change.revision for change in self.seen if change.revision > revision
            ]
        for revision in (self.catalog.compacted - 1, self.catalog.revision + 1):
            with pytest.raises(Compacted):
                self.catalog.changes_since(ALL_NAMES, revision)


Story.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestStory = Story.TestCase


def test_the_log_is_bounded_and_an_old_revision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "MAX_ENTRIES", 3)
    catalog = loaded()
    for port in range(1, 6):
        put(catalog, record("a", port=port))
    assert [change.revision for change in catalog.changes_since("product", 2)] == [3, 4, 5]
    with pytest.raises(Compacted):
        catalog.changes_since("product", 1)
    assert catalog.name_revision("never-seen") == catalog.compacted == 2


def test_the_log_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "MAX_BYTES", 4_000)
    catalog = loaded()
    for port in range(1, 6):
        put(catalog, record_with_text("a", port, 1_500))
    assert [change.revision for change in catalog.changes_since("product", 3)] == [4, 5]
    with pytest.raises(Compacted):
        catalog.changes_since("product", 2)
    put(catalog, record_with_text("a", 6, 9_000))
    assert [change.revision for change in catalog.changes_since("product", 5)] == [6], (
        "the newest entry is kept however long it is"
    )


def test_redis_trims_the_stream_by_the_mean_size_of_entries() -> None:
    trimmer = change_log.StreamTrimmer()
    assert {trimmer.max_length(600) for _ in range(500)} == {change_log.MAX_ENTRIES}
    *_, last = [trimmer.max_length(60_000) for _ in range(1_000)]
    assert last * 60_000 <= change_log.MAX_BYTES * 1.01
    *_, last = [trimmer.max_length(10**7) for _ in range(1_000)]
    assert last == change_log.MIN_STREAM_ENTRIES


def test_an_older_snapshot_of_the_same_epoch_changes_nothing() -> None:
    catalog = loaded()
    first = put(catalog, record("a", port=1))
    put(catalog, record("b", port=2))
    changes: list[Change] = []
    catalog.subscribe(ALL_NAMES, changes.append)
    catalog.apply_snapshot(StoreSnapshot(FIRST, 1, "", (first,), (), 0))
    assert (catalog.revision, [*catalog.records], changes) == (2, ["a", "b"], [])


def test_a_subscriber_gets_changes_of_its_name_only() -> None:
    catalog = loaded()
    changes: list[Change] = []
    stop = catalog.subscribe("order", changes.append)
    put(catalog, record("a", "orders"))
    put(catalog, record("b", "order"))
    stop()
    put(catalog, record("b", "order", CheckState.CRITICAL))
    assert [change.instance.uuid for change in changes] == ["b"]
    assert catalog.changes_since("order", 0)[-1].instance.state is CheckState.CRITICAL


def test_an_instance_that_changes_its_name_is_not_found_under_the_old_one() -> None:
    catalog = loaded()
    put(catalog, record("a", "order"))
    put(catalog, record("a", "product"))
    assert catalog.next_reply("order") is None
    assert listed(catalog, "order") == []
    assert list(catalog.services()) == ["product"]


def test_the_last_probe_is_listed_without_being_a_change() -> None:
    catalog = loaded()
    put(catalog, record("a"))
    catalog.record_probe("a", 12.5, "200 OK")
    (instance,) = listed(catalog)
    assert (instance.checked, instance.output, catalog.revision) == (12.5, "200 OK", 1)
    catalog.record_probe("unknown", 1.0, "")
    assert len(listed(catalog)) == 1


def test_cached_lists_are_the_records_in_order() -> None:
    catalog = loaded()

    def expected(name: str) -> list[Instance]:
        instances = [
            catalog.instance(known) for known in catalog.records.values() if name in (ALL_NAMES, known.instance.name)
        ]
        return sorted(instances, key=lambda instance: (instance.name, instance.registered, instance.uuid))

    def same() -> bool:
        return all(listed(catalog, name) == expected(name) for name in [ALL_NAMES, *NAMES])

    assert same()
    for id_, name in [("b", "product"), ("a", "order"), ("c", "product")]:
        put(catalog, record(id_, name))
        assert same()
    catalog.record_probe("b", 1.0, "200 OK")
    assert same()
    put(catalog, record("a", "product", CheckState.CRITICAL))
    assert same()
    late = record("b", "product")
    put(catalog, replace(late, instance=replace(late.instance, registered=9.0)))
    assert same()
    assert [instance.uuid for instance in listed(catalog, "product")] == ["a", "c", "b"]
    catalog.apply(Entry(catalog.revision + 1, ChangeKind.GONE, catalog.records["c"]))
    assert same()
    assert [instance.uuid for instance in listed(catalog)] == ["a", "b"]


def test_the_output_of_an_earlier_registrations_probe_is_not_shown_for_the_next_one() -> None:
    catalog = loaded()
    put(catalog, record("a"))
    catalog.record_probe("a", 12.5, "200 OK of the process that has ended")
    put(catalog, record("a"))  # the same id and address, as another incarnation
    assert [instance.output for instance in listed(catalog)] == [""]
