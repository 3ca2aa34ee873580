"""The catalog: revisions only grow, every watcher sees every change once and in order, and Get is never wrong."""

import json
from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from minikube.model import Address, Change, ChangeKind, CheckState, Instance
from minikube.registry.catalog import change_log as changelog
from minikube.registry.catalog.catalog import EVERY_NAME, Catalog, Compacted, Snapshot
from minikube.registry.catalog.records import Entry, Epoch, Record

FIRST = Epoch(1, "first", 0)
NAMES = ["order", "orders", "product"]
STATES = list(CheckState)


def record(id_: str, name: str = "product", state: CheckState = CheckState.PASSING, port: int = 80) -> Record:
    return Record(Instance(id_, name, Address("127.0.0.1", port), "ttl:", state))


def wordy(id_: str, port: int, length: int) -> Record:
    one = record(id_, port=port)
    return replace(one, instance=replace(one.instance, meta={"text": "x" * length}))


def at(revision: int, one: Record) -> Record:
    return replace(
        one, instance=replace(one.instance, revision=revision, incarnation=one.instance.incarnation or revision)
    )


def loaded() -> Catalog:
    made = Catalog()
    made.adopt(Snapshot(FIRST, 0, "", (), (), 0))
    return made


def put(catalog: Catalog, one: Record) -> Record:
    revision = catalog.revision + 1
    catalog.offer(Entry(revision, ChangeKind.PUT, at(revision, one)))
    return catalog.records[one.id]


class Story(RuleBasedStateMachine):
    """A store writes its history; a catalog follows it, sometimes late, out of order, or by a snapshot only."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = loaded()
        self.stored: dict[str, Record] = {}
        self.history: list[Entry] = []
        self.revision = 0
        self.epoch = FIRST
        self.sent = 0
        """How much of the history was offered to the catalog."""
        self.seen: list[Change] = []
        self.shown: dict[str, Record] = {}
        self.catalog.subscribe(EVERY_NAME, self.see)

    def see(self, change: Change) -> None:
        if self.seen:
            assert change.revision > self.seen[-1].revision, "in order, none twice"
        self.seen.append(change)
        if change.kind is ChangeKind.PUT:
            self.shown[change.instance.uuid] = Record(change.instance)
        else:
            assert change.instance.uuid in self.shown, "nothing goes that was not there"
            del self.shown[change.instance.uuid]

    @rule(id_=st.sampled_from("abcd"), name=st.sampled_from(NAMES), state=st.sampled_from(STATES))
    def write(self, id_: str, name: str, state: CheckState) -> None:
        self.revision += 1
        one = at(self.revision, record(id_, name, state, ord(id_)))
        self.stored[id_] = one
        self.history.append(Entry(self.revision, ChangeKind.PUT, one, f"n{self.revision}"))

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.revision += 1
        one = self.stored.pop(data.draw(st.sampled_from(sorted(self.stored))))
        self.history.append(Entry(self.revision, ChangeKind.GONE, one, f"n{self.revision}"))

    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        """The next few entries arrive, in any order, some twice."""
        until = data.draw(st.integers(self.sent, min(len(self.history), self.sent + 4)))
        entries = data.draw(st.permutations(self.history[self.sent : until]))
        for entry in [*entries, *entries[:1]]:
            self.catalog.offer(entry)
        self.sent = until

    @rule(kept=st.integers(0, 6), leap=st.booleans())
    def adopt(self, kept: int, leap: bool) -> None:
        """The store is read anew: with the end of its log, or as a line of history begun by another registry."""
        if leap:
            self.revision += 1000
            self.epoch = Epoch(self.epoch.n + 1, f"e{self.epoch.n}", self.catalog.revision)
            kept = 0
        log = tuple(self.history[len(self.history) - kept :]) if kept else ()
        floor = log[0].revision - 1 if log else self.revision
        nonce = log[-1].nonce if log else ""
        self.catalog.adopt(Snapshot(self.epoch, self.revision, nonce, tuple(self.stored.values()), log, floor))
        self.sent = len(self.history)
        assert self.catalog.revision == self.revision

    @invariant()
    def watchers_know_what_the_catalog_knows(self) -> None:
        assert {id_: one.instance for id_, one in self.shown.items()} == {
            id_: one.instance for id_, one in self.catalog.records.items()
        }

    @invariant()
    def it_is_the_store_once_it_has_followed(self) -> None:
        if self.catalog.revision == self.revision:
            assert self.catalog.records == self.stored
            assert not self.catalog.behind

    @invariant()
    def get_answers_the_passing_ones_in_turn(self) -> None:
        for name in NAMES:
            passing = [one for one in self.catalog.records.values() if one.discoverable and one.instance.name == name]
            replies = [self.catalog.get(name) for _ in range(2 * len(passing))]
            ports = Counter(json.loads(reply)["Port"] for reply in replies if reply)
            assert ports == Counter({one.instance.addr.Port: 2 for one in passing})
            if not passing:
                assert self.catalog.get(name) is None

    @invariant()
    def what_can_be_resumed_is_complete(self) -> None:
        for revision in {self.catalog.floor, self.catalog.revision}:
            changes = self.catalog.since(EVERY_NAME, revision)
            assert [change.revision for change in changes] == [
                change.revision for change in self.seen if change.revision > revision
            ]
        for revision in (self.catalog.floor - 1, self.catalog.revision + 1):
            with pytest.raises(Compacted):
                self.catalog.since(EVERY_NAME, revision)


Story.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestStory = Story.TestCase


def test_the_log_is_bounded_and_an_old_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "LOG_LENGTH", 3)
    catalog = loaded()
    for port in range(1, 6):
        put(catalog, record("a", port=port))
    assert [change.revision for change in catalog.since("product", 2)] == [3, 4, 5]
    with pytest.raises(Compacted):
        catalog.since("product", 1)
    assert catalog.name_revision("never-seen") == catalog.floor == 2


def test_the_log_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "LOG_BYTES", 4_000)
    catalog = loaded()
    for port in range(1, 6):
        put(catalog, wordy("a", port, 1_500))
    assert [change.revision for change in catalog.since("product", 3)] == [4, 5]
    with pytest.raises(Compacted):
        catalog.since("product", 2)
    put(catalog, wordy("a", 6, 9_000))
    assert [change.revision for change in catalog.since("product", 5)] == [6], "the newest is kept however long it is"


def test_redis_keeps_as_many_entries_as_may_be_in_bytes() -> None:
    mean = changelog.Mean()
    assert {mean.length_with(600) for _ in range(500)} == {changelog.LOG_LENGTH}
    *_, last = [mean.length_with(60_000) for _ in range(1_000)]
    assert last * 60_000 <= changelog.LOG_BYTES * 1.01
    *_, last = [mean.length_with(10**7) for _ in range(1_000)]
    assert last == changelog.LOG_LEAST


def test_a_watcher_hears_of_its_name_only() -> None:
    catalog = loaded()
    heard: list[Change] = []
    stop = catalog.subscribe("order", heard.append)
    put(catalog, record("a", "orders"))
    put(catalog, record("b", "order"))
    stop()
    put(catalog, record("b", "order", CheckState.CRITICAL))
    assert [change.instance.uuid for change in heard] == ["b"]
    assert catalog.since("order", 0)[-1].instance.state is CheckState.CRITICAL


def test_an_instance_that_changes_its_name_leaves_the_old_one() -> None:
    catalog = loaded()
    put(catalog, record("a", "order"))
    put(catalog, record("a", "product"))
    assert catalog.get("order") is None
    assert catalog.instances("order") == []
    assert list(catalog.services()) == ["product"]


def test_the_last_probe_shows_without_being_a_change() -> None:
    catalog = loaded()
    put(catalog, record("a"))
    catalog.observe("a", 12.5, "200 OK")
    (instance,) = catalog.instances()
    assert (instance.checked, instance.output, catalog.revision) == (12.5, "200 OK", 1)
    catalog.observe("unknown", 1.0, "")
    assert len(catalog.instances()) == 1


def test_lists_as_json_are_the_lists() -> None:
    catalog = loaded()

    def same() -> bool:
        return all(
            msgspec.json.decode(catalog.instances_json(name), type=list[Instance]) == catalog.instances(name)
            for name in [EVERY_NAME, *NAMES]
        )

    assert same()
    for id_, name in [("b", "product"), ("a", "order"), ("c", "product")]:
        put(catalog, record(id_, name))
        assert same()
    catalog.observe("b", 1.0, "200 OK")
    assert same()
    put(catalog, record("a", "product", CheckState.CRITICAL))
    assert same()
    late = record("b", "product")
    put(catalog, replace(late, instance=replace(late.instance, registered=9.0)))
    assert same()
    assert [one.uuid for one in catalog.instances("product")] == ["a", "c", "b"]
    catalog.offer(Entry(catalog.revision + 1, ChangeKind.GONE, catalog.records["c"]))
    assert same()
    assert [one.uuid for one in catalog.instances()] == ["a", "b"]
