"""The stored form of registrations: what is written is read back the same, and only discoverable instances have a hash."""

import pytest
from msgspec.structs import replace

from minikube.health.state import ProbeSettings
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry.catalog.records import Entry, Record
from minikube.registry.redis.codec import (
    Keys,
    decode_entry,
    decode_registration,
    encode_instance_hash,
    encode_record,
)

INSTANCE = Instance(
    "0badcafe",
    "product",
    Address("127.0.0.1", 80),
    "ttl:",
    CheckState.PASSING,
    tags=("a", "b"),
    revision=7,
    incarnation=5,
)
RECORD = Record(INSTANCE, ProbeSettings(interval=1.0), CheckState.CRITICAL)


def test_a_registration_is_read_back_with_its_revision_and_incarnation() -> None:
    assert decode_registration(b"7 5 " + encode_record(RECORD)) == RECORD


def test_the_json_names_are_those_of_earlier_versions() -> None:
    """A Redis that an earlier version wrote must stay readable, and the other way round."""
    data = encode_record(RECORD)
    assert b'"resumed":"critical"' in data
    assert b'"settings":{"interval":1.0}' in data
    assert b'"Revision":0' in data, "the commit script gives out the revision"


@pytest.mark.parametrize(("kind", "was"), [(ChangeKind.PUT, {}), (ChangeKind.GONE, {b"was": b"7"})])
def test_a_removed_record_keeps_its_own_revision(kind: ChangeKind, was: dict[bytes, bytes]) -> None:
    fields = {
        b"kind": kind.encode(),
        b"incarnation": b"5",
        b"data": encode_record(RECORD),
        b"nonce": b"n",
        **was,
    }
    revision = 9 if was else 7
    assert decode_entry(revision, fields) == Entry(revision, kind, RECORD, "n")


def test_the_mark_of_a_new_epoch_is_no_entry() -> None:
    assert decode_entry(9, {b"kind": b"epoch", b"nonce": b"n"}) is None


@pytest.mark.parametrize("value", [b"", b"7 5", b"7 5 {}", b"x 5 {}", b"7 5 not json"])
def test_a_value_of_another_program_raises_value_error(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's and int()'s own texts
        decode_registration(value)


def test_only_a_discoverable_instance_has_a_hash() -> None:
    flat = encode_instance_hash(RECORD)
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert (fields["name"], fields["addr"], fields["tags"]) == ("product", "127.0.0.1:80", "a,b")
    assert Keys("{minikube}").instance(RECORD) == "{minikube}:instance:product:0badcafe"
    critical = replace(RECORD, instance=replace(INSTANCE, state=CheckState.CRITICAL))
    assert encode_instance_hash(critical) == []
