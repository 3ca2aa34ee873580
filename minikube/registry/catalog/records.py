"""The catalog's rows and their form in Redis (floor 3, pure). Knows the layout of keys; refuses to talk to Redis.

With the prefix `{minikube}`:

    {minikube}:instance:NAME:ID   hash    one discoverable instance: name, addr, health, uuid, …
    {minikube}:registrations      hash    id → "REVISION INCARNATION JSON": every registration, critical ones too
    {minikube}:addresses          hash    "NAME ADDR" → id: never two entries for one instance
    {minikube}:revision           string  the last revision given out; only grows
    {minikube}:changes            stream  entry REVISION-0: kind, id, incarnation, data, nonce; bounded
    {minikube}:epoch              hash    n and id of the line of history, and where it parted from its parent
    {minikube}:nodes              hash    registry node → a counter that moves while it lives
    {minikube}:leases             hash    id → renewals seen, for `ttl:` checks of several registries
"""

from msgspec import Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from minikube.health.state import ProbeSettings
from minikube.model import ChangeKind, CheckState, Instance


class Record(Struct, frozen=True):
    """One registration: what everyone sees, and how it is judged."""

    instance: Instance
    settings: ProbeSettings = ProbeSettings()
    resumed: CheckState = CheckState.STARTING
    """While in maintenance: what to be once it ends."""

    @property
    def id(self) -> str:
        return self.instance.uuid

    @property
    def revision(self) -> int:
        return self.instance.revision

    @property
    def discoverable(self) -> bool:
        return self.instance.state is CheckState.PASSING


class Entry(Struct, frozen=True):
    """One entry of the change log."""

    revision: int
    kind: ChangeKind
    record: Record
    nonce: str = ""


class Epoch(Struct, frozen=True, order=True):
    """A line of history. A Redis that was emptied or set back begins a new one, greater in `n`, from `floor` on."""

    n: int = 0
    id: str = ""
    floor: int = 0
    """The last revision of the parent that the one who began this epoch knew."""

    def __bool__(self) -> bool:
        return self.n > 0


class Keys:
    """The names of everything under one prefix."""

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
        return f"{self.prefix}:instance:{record.instance.name}:{record.id}"


_encode = Encoder().encode
_decode_record = Decoder(Record).decode


def address_field(record: Record) -> str:
    """The field under `addresses`: one name and one address are one instance."""
    return f"{record.instance.name} {record.instance.addr}"


def size_of(record: Record) -> int:
    """How many bytes it has as JSON: what it takes in memory and in Redis, more or less."""
    return len(_encode(record))


def dump(record: Record) -> bytes:
    """The JSON kept in Redis, without revision and incarnation: those the script gives out."""
    return _encode(replace(record, instance=replace(record.instance, revision=0, incarnation=0)))


def load(data: bytes, revision: int, incarnation: int) -> Record:
    """The record of one JSON. Raises ValueError (msgspec's) where it is none of ours."""
    record = _decode_record(data)
    return replace(record, instance=replace(record.instance, revision=revision, incarnation=incarnation))


def load_registration(value: bytes) -> Record:
    """The record of one value under `registrations`."""
    revision, incarnation, data = value.split(b" ", 2)
    return load(data, int(revision), int(incarnation))


def load_entry(revision: int, fields: dict[bytes, bytes]) -> Entry | None:
    """One entry of the log; None for the mark of a new epoch."""
    kind = fields[b"kind"]
    if kind == b"epoch":
        return None
    own = int(fields[b"was"]) if b"was" in fields else revision
    record = load(fields[b"data"], own, int(fields[b"incarnation"]))
    return Entry(revision, ChangeKind(kind.decode()), record, fields[b"nonce"].decode())


def hash_fields(record: Record) -> list[str]:
    """Names and values of the instance's hash, flat; empty where it is not discoverable."""
    if not record.discoverable:
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
    ]
