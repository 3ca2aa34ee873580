"""Recovery: when the catalog takes over what Redis has, when it restores Redis, and what is written again."""

from typing import Any

import pytest
from msgspec.structs import replace

from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.redis.recovery import has_diverged, should_take_over, unsaved_writes
from minikube.registry.redis.types import CatalogDump, CatalogPosition, Heartbeat, Write

FIRST = Epoch(1, "first")
NONE = Epoch()


def record(id_: str, revision: int) -> Record:
    instance = Instance(id_, "product", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, revision=revision)
    return Record(instance)


A, B = record("a", 4), record("b", 5)
LOG = (Entry(4, ChangeKind.PUT, A, "n4"), Entry(5, ChangeKind.PUT, B, "n5"))
POSITION = CatalogPosition(FIRST, 5, "n5", 2, False)
DUMP = CatalogDump(POSITION, (A, B), (), LOG)
SAME = StoreSnapshot(FIRST, 5, "n5", (A, B), LOG, 3)


def snapshot(**changes: Any) -> StoreSnapshot:
    return replace(SAME, **changes)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (SAME, True),
        (snapshot(revision=6, nonce="n6", log=(*LOG, Entry(6, ChangeKind.PUT, A, "n6"))), True),
        (snapshot(revision=9, nonce="n9", log=(), compacted=9), True),
        (snapshot(epoch=Epoch(2, "second", 4)), True),
        (snapshot(epoch=NONE, revision=0, records=(), log=()), False),
        (snapshot(revision=4), False),
        (snapshot(records=(A,)), False),
        (snapshot(nonce="other"), False),
        (snapshot(epoch=Epoch(1, "another")), False),
        (snapshot(revision=6, log=(Entry(5, ChangeKind.PUT, B, "other"),)), False),
    ],
    ids=[
        "the same",
        "newer",
        "much newer",
        "newer epoch",
        "empty",
        "set back",
        "less",
        "nonce",
        "other epoch",
        "other log",
    ],
)
def test_a_redis_with_all_of_the_catalog_is_taken_over_and_any_other_restored(
    stored: StoreSnapshot, expected: bool
) -> None:
    assert should_take_over(stored, DUMP) is expected


HEARTBEAT = Heartbeat(0.0, "first", 5, "n5", 2, {}, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"revision": 6, "registrations": 9}, False),
        ({"epoch": "second"}, True),
        ({"revision": 4}, True),
        ({"nonce": "other"}, True),
        ({"registrations": 1}, True),
    ],
)
def test_a_heartbeat_finds_another_history(changes: dict[str, Any], expected: bool) -> None:
    assert has_diverged(replace(HEARTBEAT, **changes), POSITION) is expected


def test_what_the_starter_of_the_next_epoch_did_not_know_is_written_again() -> None:
    old_a = record("a", 2)
    gone = Entry(6, ChangeKind.GONE, record("c", 3), "n6")
    dump = replace(DUMP, log=(*LOG, gone))
    taken = snapshot(epoch=Epoch(2, "second", 3), records=(old_a, record("c", 3)))
    assert unsaved_writes(taken, dump) == [
        Write(ChangeKind.PUT, A, 2, old_a),
        Write(ChangeKind.PUT, B, 0, None),
        Write(ChangeKind.GONE, record("c", 3), 3, record("c", 3)),
    ]
    assert unsaved_writes(replace(taken, epoch=Epoch(3, "third", 3)), dump) == [], (
        "an older catalog knows nothing newer"
    )
    assert unsaved_writes(replace(taken, epoch=Epoch(2, "second", 6)), dump) == []
