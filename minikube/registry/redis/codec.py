"""The stored form of registrations in Redis: the keys, and what each holds. Pure; it sends nothing.

With the prefix `{minikube}`:

    {minikube}:instance:NAME:ID   hash    one discoverable instance: name, addr, health, uuid, …
    {minikube}:registrations      hash    id → "REVISION INCARNATION JSON": every registration, critical ones too
    {minikube}:addresses          hash    "NAME ADDR" → id: never two registrations of one instance
    {minikube}:revision           string  the last revision given out; it only grows
    {minikube}:changes            stream  entry REVISION-0: kind, id, incarnation, data, nonce; bounded
    {minikube}:epoch              hash    n (number) and id of the epoch, and floor: where it parted from its parent
    {minikube}:nodes              hash    registry node → heartbeat counter
    {minikube}:leases             hash    id → renewals seen, for `ttl:` checks of several registries
    {minikube}:tokens             hash    token name → JSON with the token's SHA-256, rights and time
"""

from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from minikube.model import ChangeKind
from minikube.registry.catalog.records import Entry, Record

_encode = Encoder().encode
_decode_record = Decoder(Record).decode


class Keys:
    """The names of all keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.registrations = f"{prefix}:registrations"
        self.addresses = f"{prefix}:addresses"
        self.revision = f"{prefix}:revision"
        self.changes = f"{prefix}:changes"
        self.epoch = f"{prefix}:epoch"
        self.nodes = f"{prefix}:nodes"
        self.leases = f"{prefix}:leases"

    def instance(self, record: Record) -> str:
        """Return the key of the instance's hash."""
        return f"{self.prefix}:instance:{record.instance.name}:{record.id}"


def encode_record(record: Record) -> bytes:
    """Return the record as JSON, without revision and incarnation: the commit script gives those out."""
    return _encode(replace(record, instance=replace(record.instance, revision=0, incarnation=0)))


def decode_record(data: bytes, revision: int, incarnation: int) -> Record:
    """Return the record of its JSON. Raises ValueError (msgspec's) for anything else."""
    record = _decode_record(data)
    return replace(record, instance=replace(record.instance, revision=revision, incarnation=incarnation))


def decode_registration(value: bytes) -> Record:
    """Return the record of one value under `registrations`. Raises ValueError for anything else."""
    revision, incarnation, data = value.split(b" ", 2)
    return decode_record(data, int(revision), int(incarnation))


def decode_entry(revision: int, fields: dict[bytes, bytes]) -> Entry | None:
    """Return the change log entry of a stream entry's fields; None for the mark that starts a new epoch.

    Raises ValueError or KeyError for anything else.
    """
    kind = fields[b"kind"]
    if kind == b"epoch":
        return None
    # A removed record keeps the revision of its last change: the entry says which it was.
    record_revision = int(fields[b"was"]) if b"was" in fields else revision
    record = decode_record(fields[b"data"], record_revision, int(fields[b"incarnation"]))
    return Entry(revision, ChangeKind(kind.decode()), record, fields[b"nonce"].decode())


def encode_instance_hash(record: Record) -> list[str]:
    """Return the fields of the instance's hash, flat: name, value, …; none for an instance that is not discoverable."""
    if not record.is_discoverable:
        return []
    instance = record.instance
    return [
        *("name", instance.name),
        *("addr", str(instance.addr)),
        *("health", instance.health_check),
        *("uuid", instance.uuid),
        *("state", instance.state.value),
        *("tags", ",".join(instance.tags)),
        *("registered", f"{instance.registered:.3f}"),
        *("owner", record.owner),
    ]


def expected_instance_hash(record: Record) -> str:
    """Return what an audit finds in the instance's hash: revision, name, addr, health and uuid, a line each.

    Empty for an instance that is not discoverable.
    """
    if not record.is_discoverable:
        return ""
    instance = record.instance
    return f"{instance.revision}\n{instance.name}\n{instance.addr}\n{instance.health_check}\n{instance.uuid}"
